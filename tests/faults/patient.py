# SPDX-License-Identifier: MIT
"""A real volume to be damaged, and the examination of what is left of it.

`build` makes it by the product's own create and control plane: directories, hard and
symbolic links, attributes, wide, narrow and sparse files, three layouts, a file that was
deleted while open, speculation, and a store whose log was not moved into the database.
Every block of data names the inode it belongs to (`tests.mounted.tagged`).

`examine` does what an owner would: fsck, open, look at everything, write, end.  Whatever
it meets must be an answer in words: any other exception leaves it.
"""

from __future__ import annotations

import contextlib
import os
import resource
import stat
from dataclasses import dataclass, field
from pathlib import Path

import trio

from iomapd.control import report
from iomapd.control.mount import ControlPlane
from iomapd.control.open import open_volume
from iomapd.errors import IomapdError
from iomapd.tools.create import create_volume
from iomapd.tools.fsck import check_volume
from iomapd.volume.layout_file import MemberSpec, load_layout, render_layout
from tests.mounted import tagged

MIB = 1 << 20
UNIT = 16384
NR_MEMBERS = 3
MEMBER_SIZE = 12 * MIB
LAYOUT = "v.toml"
STORE = "v.db"
MEMBERS = [f"m{i}.img" for i in range(NR_MEMBERS)]
MEMORY_MAX = 3 << 30  # more address space than any examination needs, far below what a lie asks
IN_WORDS = (IomapdError, OSError)


def build(directory: Path) -> Path:
    """Make the volume; its server "died" with everything acknowledged and nothing tidied."""
    path = directory / LAYOUT
    members = [MemberSpec(Path(name), MEMBER_SIZE, sparse=True) for name in MEMBERS]
    path.write_text(render_layout(name="v", unit="16KiB", members=members))
    layout = load_layout(path)
    create_volume(layout)
    trio.run(_populate, layout)
    return directory


async def _populate(layout):
    store, members = open_volume(layout, read_only=False, mountpoint=None)
    control = ControlPlane(store, members, read_only=False)
    control.begin()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(control.points.run)
        await _fill(control)
        await control.points.make()
        store.checkpoint()
        # Younger than the checkpoint: these are in the log only.
        await write(control, make(control, 1, b"young"), 0, 3 * UNIT)
        await control.points.make()
        copy_volume(layout.path.parent, layout.path.parent / "dead")
        nursery.cancel_scope.cancel()
    await control.end()
    for entry in (layout.path.parent / "dead").iterdir():
        entry.rename(layout.path.parent / entry.name)
    (layout.path.parent / "dead").rmdir()


def make(control, parent, name, mode=0o100644, **special):
    return control.names.make(parent, name, mode, (0, 0), **special)


async def write(control, inode, pos, length):
    for at in range(pos, pos + length, MIB):
        data = tagged.content(inode.ino, min(MIB, pos + length - at), at)
        await control.files.write(inode, at, data)


async def _fill(control):
    top = make(control, 1, b"dir", 0o040755)
    for number in range(12):
        await write(control, make(control, top.ino, b"small%d" % number), 0, 4096 * number + 100)
    await write(control, make(control, 1, b"wide"), 0, 4 * MIB)
    sparse = make(control, top.ino, b"sparse")
    await write(control, sparse, 1 << 40, 40960)
    await control.files.truncate(sparse, 1 << 50)
    narrow = make(control, 1, b"narrow", 0o040755)
    await control.layouts.set(narrow, width=1)
    await write(control, make(control, narrow.ino, b"one"), 0, MIB)
    rotated = make(control, top.ino, b"rotated", 0o040755)
    await control.layouts.set(rotated, program="rotated")
    await write(control, make(control, rotated.ino, b"turned"), 0, MIB + 8192)
    make(control, 1, b"link", 0o120777, target=b"dir/small3")
    make(control, 1, b"fifo", 0o010644)
    make(control, 1, b"device", 0o060600, rdev=0x103)
    control.names.link(control.names.lookup(1, b"wide").ino, top.ino, b"again")
    control.attributes.set_xattr(top, b"user.note", b"value")
    deleted = make(control, 1, b"deleted")
    await write(control, deleted, 0, 65536)
    control.names.remember(deleted.ino)
    control.names.unlink(1, b"deleted")


# -- copies


def copy_volume(source: Path, target: Path) -> Path:
    """Copy a volume, holes as holes; a store that is in use as a crash would leave it."""
    target.mkdir(exist_ok=True)
    for name in (LAYOUT, STORE, f"{STORE}-wal", *MEMBERS):
        (target / name).unlink(missing_ok=True)
        if (source / name).exists():
            _copy_sparse(source / name, target / name)
    return target


def _copy_sparse(source: Path, target: Path) -> None:
    with source.open("rb") as old, target.open("wb") as new:
        size = os.fstat(old.fileno()).st_size
        os.ftruncate(new.fileno(), size)
        at = 0
        while at < size:
            try:
                at = os.lseek(old.fileno(), at, os.SEEK_DATA)
            except OSError:
                return  # the rest is a hole
            end = os.lseek(old.fileno(), at, os.SEEK_HOLE)
            os.pwrite(new.fileno(), os.pread(old.fileno(), end - at, at), at)
            at = end


# -- the examination


@dataclass
class Verdict:
    """What an examination met.

    Attributes:
        fsck: its findings, or the one line why it could not check.
        errors: how many of these are errors.
        refused: why the volume could not be opened; empty if it was.
        faults: operations that ended in an error, in words.
        foreign: blocks of one inode that were read from another.
        problems: what made the mount read-only.
    """

    fsck: list[str] = field(default_factory=list)
    errors: int = 0
    refused: str = ""
    faults: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    read: int = 0


@contextlib.contextmanager
def bounded_memory():
    """A number from the disk must not become an allocation: MemoryError tells."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + MEMORY_MAX, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def examine(directory: Path) -> Verdict:
    """Fsck, open, read everything, write a little, end; see the module."""
    verdict = Verdict()
    with bounded_memory():
        try:
            found = check_volume(load_layout(directory / LAYOUT))
            found.body()
            verdict.fsck = [finding.message for finding in found.findings]
            verdict.errors = len(found.errors)
        except IN_WORDS as exc:
            verdict.fsck, verdict.errors = [one_line(exc)], 1
        for message in verdict.fsck:
            assert "\n" not in message, message
        trio.run(_live, directory, verdict)
    return verdict


def one_line(exc: BaseException) -> str:
    text = str(exc)
    assert text, f"an error without words: {exc!r}"
    assert "\n" not in text, text
    return text


async def _live(directory, verdict):
    try:
        layout = load_layout(directory / LAYOUT)
        store, members = open_volume(layout, read_only=False, mountpoint=None)
    except IN_WORDS as exc:
        verdict.refused = one_line(exc)
        return
    try:
        control = ControlPlane(store, members, read_only=False)
        control.begin()
    except IN_WORDS as exc:
        verdict.refused = one_line(exc)
        store.close()
        for member in members:
            member.close()
        return
    verdict.problems = list(control.core.problems)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(control.points.run)
        await _Walk(control, verdict).everything()
        nursery.cancel_scope.cancel()
    await control.end()


class _Walk:
    """Everything that can be asked of a mount, each answer data or an error in words."""

    def __init__(self, control, verdict):
        self.control, self.verdict = control, verdict
        self.seen = set()

    async def attempt(self, operation, *arguments, **named):
        """Run one operation; return what it gave, or None and note its words."""
        try:
            answer = operation(*arguments, **named)
            return await answer if hasattr(answer, "__await__") else answer
        except IN_WORDS as exc:
            self.verdict.faults.append(one_line(exc))
            return None

    async def everything(self):
        core = self.control.core
        await self.attempt(report.info, core)
        await self.attempt(report.statistics, core, self.control.points)
        await self.attempt(core.store.names.count_inodes)
        await self.directory(1)
        await self.change()

    async def directory(self, ino):
        if ino in self.seen:
            return
        self.seen.add(ino)
        # As FUSE does: a listing with attributes, then each name for itself.
        names = await self.attempt(lambda: list(self.control.names.list(ino, 0)))
        for cookie, name, found in names or ():
            assert 0 < cookie < 2**63 - 8
            check_attributes(found)
            await self.attempt(self.control.names.lookup, ino, name)
            await self.attempt(self.control.names.lookup, ino, b"..")
            if stat.S_ISDIR(found.mode):
                await self.directory(found.ino)
            await self.thing(found.ino)

    async def thing(self, ino):
        control = self.control
        inode = await self.attempt(control.core.inode, ino)
        if inode is None:
            return
        check_attributes(inode)
        for name in await self.attempt(control.attributes.xattr_names, inode) or ():
            await self.attempt(control.attributes.xattr, ino, name)
        await self.attempt(report.allocated, control.core, inode)
        await self.attempt(control.layouts.text, inode)
        await self.attempt(control.layouts.describe, inode)
        if stat.S_ISLNK(inode.mode):
            target = await self.attempt(control.names.readlink, ino)
            assert target is None or isinstance(target, bytes)
        if stat.S_ISREG(inode.mode):
            await self.attempt(report.map_file, control.core, inode)
            await self.file(inode)

    async def file(self, inode):
        for pos in (*range(0, min(inode.size, 5 * MIB), MIB), 1 << 40, inode.size - 5):
            at = max(0, pos) // 4096 * 4096
            data = await self.attempt(self.control.files.read, inode, at, MIB)
            if data is not None:
                self.check(inode.ino, at, bytes(data))

    def check(self, ino, pos, data):
        self.verdict.read += len(data)
        for at in range(0, len(data), tagged.BLOCK):
            block = data[at : at + tagged.BLOCK]
            owner = int.from_bytes(block[8:16], "little", signed=True)
            if block.startswith(tagged.MAGIC[: len(block)]) and owner not in (ino, 0):
                self.verdict.foreign.append(f"block at {pos + at} of inode {ino} is {owner}'s")

    async def change(self):
        """Write: what is broken must stay where it is, and not take the server down."""
        control = self.control
        made = await self.attempt(make, control, 1, b"new file")
        if made is not None:
            await self.attempt(write, control, made, 0, 200_000)
        for path in ((1, b"wide"), (1, b"young")):
            found = await self.attempt(control.names.lookup, *path)
            inode = found and await self.attempt(control.core.inode, found.ino)
            if not inode or not stat.S_ISREG(inode.mode):
                continue
            await self.attempt(control.files.write, inode, 8192, tagged.content(inode.ino, 8192))
            await self.attempt(control.points.sync_inode, inode, data_only=False)
            await self.attempt(control.files.truncate, inode, 20_000)
            await self.attempt(control.files.truncate, inode, MIB)
            await self.attempt(control.attributes.set, inode, mode=0o600)
            if await self.attempt(control.names.unlink, *path) is not None:
                await self.attempt(control.delete, inode)
        await self.attempt(control.names.rename, (1, b"link"), (1, b"fifo"))
        await self.attempt(control.names.rmdir, 1, b"narrow")
        await self.attempt(control.points.make)


def check_attributes(found):
    """What pyfuse3 puts into C structures must fit there."""
    assert 0 < found.ino < 2**63
    assert 0 <= found.size < 2**63
    for name, bits in (("mode", 16), ("uid", 32), ("gid", 32), ("nlink", 32), ("rdev", 32)):
        value = getattr(found, name)
        assert isinstance(value, int), (name, value)
        assert 0 <= value < 1 << bits, (name, value)
    for name in ("atime_ns", "mtime_ns", "ctime_ns", "btime_ns"):
        assert isinstance(getattr(found, name), int), name
