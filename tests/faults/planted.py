# SPDX-License-Identifier: MIT
"""Mistakes to plant into the product, to show that the machine would notice them.

The product has no hooks for this: each plant replaces a function of it from outside, as
near to the seam as it can, for the length of a ``with``.  What is left behind is a
product that works, passes every test of one process and loses data in a power cut.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from unittest.mock import patch

import trio

from iomapd.abi.fuse import FH_MASK
from iomapd.abi.units import BLOCK
from iomapd.control.core import Operation
from iomapd.control.freespace import FreeSpace
from iomapd.control.member_io import MemberIO
from iomapd.control.migrate import Migrator
from iomapd.control.mount import ControlPlane
from iomapd.control.points import Points
from iomapd.fuse.operations import Operations
from iomapd.meta.store import Store

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from tests.faults.machine import Script
    from tests.faults.workload import Workload

KIB = 1024


@contextmanager
def flush_after_commit() -> Iterator[None]:
    """The store's log is flushed first, then the members that its marks speak of."""
    waiting: list[tuple[MemberIO, set[int]]] = []
    flush, sync = MemberIO.flush, Store.sync

    async def flush_later(self, members):
        waiting.append((self, set(members)))
        return set()

    def sync_then_flush(self):
        sync(self)
        while waiting:
            trio.from_thread.run(flush, *waiting.pop())

    with (
        patch.object(MemberIO, "flush", flush_later),
        patch.object(Store, "sync", sync_then_flush),
    ):
        yield


@contextmanager
def reuse_before_commit() -> Iterator[None]:
    """Freed space is given out again before the deletion is durable."""
    with patch.object(FreeSpace, "hold", FreeSpace.release):
        yield


@contextmanager
def marks_after_flush() -> Iterator[None]:
    """A point flushes the members first and copies marks and sizes then."""
    inside: ContextVar[bool] = ContextVar("inside", default=False)
    flush, make_now = MemberIO.flush, Points.make_now

    async def flush_unless_done(self, members):
        return set() if inside.get() else await flush(self, members)

    async def flush_then_make(self):
        await flush(self._core.io, [member.id for member in self._core.members])
        token = inside.set(True)
        try:
            await make_now(self)
        finally:
            inside.reset(token)

    with (
        patch.object(MemberIO, "flush", flush_unless_done),
        patch.object(Points, "make_now", flush_then_make),
    ):
        yield


@contextmanager
def size_before_data() -> Iterator[None]:
    """Whatever changes an inode's row writes its newest size too."""
    from iomapd.control import core

    real = core.stored_record

    def newest(inode):
        return replace(real(inode), size=inode.size)

    with patch.object(core, "stored_record", newest):
        yield


@contextmanager
def unzeroed_block() -> Iterator[None]:
    """A file that grows shows what lay behind its end, in its last block."""
    write = MemberIO.write

    async def write_no_zeros(self, runs, buffer):
        if len(buffer) >= BLOCK or any(buffer):
            await write(self, runs, buffer)

    with patch.object(MemberIO, "write", write_no_zeros):
        yield


@contextmanager
def dsync_from_cache() -> Iterator[None]:
    """A write with O_DSYNC is acknowledged like any other."""
    write = Operations.write

    async def write_plainly(self, fh, off, buf):
        return await write(self, fh & FH_MASK, off, buf)

    with patch.object(Operations, "write", write_plainly):
        yield


@contextmanager
def directory_not_synced() -> Iterator[None]:
    """The names of the store's own files are never made durable."""
    real = os.fsync

    def fsync(fd: int) -> None:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            real(fd)

    with patch("os.fsync", fsync):
        yield


@contextmanager
def fsyncdir_forgotten() -> Iterator[None]:
    """Fsync of a directory does nothing."""

    async def fsyncdir(_self, _fh, _datasync):
        return None

    with patch.object(Operations, "fsyncdir", fsyncdir):
        yield


@contextmanager
def rename_without_point() -> Iterator[None]:
    """A rename replaces a file although the new one's data is still on its way."""

    async def settle(_self, _old, _new):
        return None

    with patch.object(ControlPlane, "settle_before_replacing", settle):
        yield


@contextmanager
def fdatasync_without_the_log() -> Iterator[None]:
    """An fdatasync after a truncate flushes the members and leaves the log as it is."""
    with patch.object(Points, "_is_unflushed", lambda _self, _ino: False):
        yield


@contextmanager
def moved_without_flush() -> Iterator[None]:
    """A file is led to its new place before what was copied there is durable."""
    inside: ContextVar[bool] = ContextVar("inside", default=False)
    flush, copy = MemberIO.flush, Migrator._copy

    async def flush_elsewhere(self, members):
        return set() if inside.get() else await flush(self, members)

    async def copy_without(self, *args):
        token = inside.set(True)
        try:
            return await copy(self, *args)
        finally:
            inside.reset(token)

    with (
        patch.object(MemberIO, "flush", flush_elsewhere),
        patch.object(Migrator, "_copy", copy_without),
    ):
        yield


@contextmanager
def moved_without_notice() -> Iterator[None]:
    """Nobody learns that the new place of a file is not durable yet."""
    change = Operation.change

    def change_in_silence(self, inode, **fields):
        if set(fields) != {"layout"}:
            change(self, inode, **fields)

    with patch.object(Operation, "change", change_in_silence):
        yield


# -- work that shows it


def at(pos: int, length: int) -> Callable[[int], tuple[int, int]]:
    """A place in a file, bytes."""
    return lambda _size: (pos, length)


async def _fsync_a_file(work: Workload) -> None:
    await work.create("a")
    await work.write("a", at(0, 48 * KIB))
    await work.sync("a")


async def _give_space_on(work: Workload) -> None:
    await _fsync_a_file(work)
    await work.unlink("a")
    await work.create("b")
    await work.write("b", at(0, 48 * KIB))


async def _append_during_fsyncs(work: Workload) -> None:
    await work.create("a")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_append, work, 40)
        for _ in range(8):
            await work.sync("a")


async def _append(work: Workload, times: int) -> None:
    for _ in range(times):
        await work.write("a", lambda size: (size, 4 * KIB))
        await trio.lowlevel.checkpoint()


async def _chmod_after_writing(work: Workload) -> None:
    await work.create("a")
    await work.write("a", at(0, 32 * KIB))
    await work.chmod("a", 0o600)


async def _cut_short_and_grow(work: Workload) -> None:
    await work.create("a")
    await work.write("a", at(0, 8 * KIB))
    await work.sync("a")
    await work.truncate("a", lambda _size: 5000)
    await work.truncate("a", lambda _size: 7000)
    await work.sync("a")


async def _cut_short_and_fdatasync(work: Workload) -> None:
    await _fsync_a_file(work)
    await work.truncate("a", lambda _size: 5000)
    await work.sync("a", data_only=True)
    await work.mkdir("d")


async def _write_with_dsync(work: Workload) -> None:
    await _fsync_a_file(work)
    await work.write("a", at(8 * KIB, 4 * KIB), dsync=True)
    await work.write("a", at(48 * KIB, 4 * KIB), dsync=True)


async def _make_names(work: Workload) -> None:
    await work.mkdir("d")
    await work.create("d/a")
    await work.fsyncdir("d")
    for number in range(5):
        await work.symlink(f"d/{number}", b"elsewhere")


async def _replace_a_file(work: Workload) -> None:
    await _fsync_a_file(work)
    await work.create("b")
    await work.write("b", at(0, 8 * KIB))
    await work.replace("b", "a")
    await work.mkdir("d")


async def _move_and_make_a_name(work: Workload) -> None:
    await _fsync_a_file(work)
    await work.migrate("a", unit="4KiB")
    await work.mkdir("d")
    await work.fsyncdir("d")


async def _move_and_fdatasync(work: Workload) -> None:
    await _fsync_a_file(work)
    await work.migrate("a", unit="4KiB")
    await work.write("a", at(0, 16 * KIB))
    await work.sync("a", data_only=True)
    await work.mkdir("d")


@dataclass(frozen=True, slots=True)
class Planted:
    """A plant, the work that shows it, and the words in which the machine tells it."""

    plant: Callable[[], AbstractContextManager]
    script: Script
    told: str


PLANTS = {
    "flush after commit": Planted(flush_after_commit, _fsync_a_file, "never held there"),
    "reuse before commit": Planted(reuse_before_commit, _give_space_on, "never held there"),
    "marks taken after the flush": Planted(
        marks_after_flush, _append_during_fsyncs, "never held there"
    ),
    "size before data": Planted(size_before_data, _chmod_after_writing, "is of event"),
    "unzeroed end of block": Planted(unzeroed_block, _cut_short_and_grow, "old bytes"),
    "O_DSYNC from the cache": Planted(dsync_from_cache, _write_with_dsync, "was promised|size"),
    "directory not synced": Planted(directory_not_synced, _make_names, "store is missing"),
    "fsyncdir forgotten": Planted(fsyncdir_forgotten, _make_names, "are lost"),
    "fdatasync without the log": Planted(
        fdatasync_without_the_log, _cut_short_and_fdatasync, "event 2 was promised"
    ),
    "moved without a flush": Planted(
        moved_without_flush, _move_and_make_a_name, "never held there|old bytes"
    ),
    "moved without notice": Planted(moved_without_notice, _move_and_fdatasync, "was promised"),
    "rename without its point": Planted(rename_without_point, _replace_a_file, "size 0"),
}
