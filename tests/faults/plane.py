# SPDX-License-Identifier: MIT
"""A volume in this process: its control plane and its handlers, called as the kernel would.

Everything goes through the seams that the kernel uses (`fuse.operations`), so that
what is tested is the promise and not how it is kept.  Paths are relative to the root
of the volume, the root being the empty string.  `MountedPlane` has the same methods
over a real mount, by system calls.
"""

from __future__ import annotations

import os
import stat
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pyfuse3
import trio

from iomapd.abi.fuse import FH_DSYNC
from iomapd.control.mount import ControlPlane
from iomapd.control.open import open_volume
from iomapd.fuse.caching import THROUGH, Caching
from iomapd.fuse.operations import Operations
from iomapd.tools.create import create_volume
from iomapd.volume.layout_file import load_layout

MIB = 1 << 20
LAYOUT = "volume.toml"
READ_MAX = 1 << 20
CALLER = SimpleNamespace(uid=0, gid=0, pid=1, umask=0)
NOTHING = SimpleNamespace(
    update_size=False, update_mode=False, update_uid=False, update_gid=False,
    update_atime=False, update_mtime=False, update_ctime=False,
)  # fmt: skip


class Node(NamedTuple):
    """What a name leads to, as far as it is promised: all but sizes and times."""

    ino: int
    mode: int
    uid: int
    gid: int
    nlink: int
    target: bytes
    xattrs: tuple[tuple[bytes, bytes], ...]


def write_layout(directory: Path, members: int, size: int, unit: str) -> Path:
    """Write the layout file of a volume that lies in *directory*, wherever that is moved."""
    lines = ["[volume]", 'name = "cut"', f'unit = "{unit}"', 'metadata = "volume.db"']
    for index in range(members):
        lines += ["[[member]]", f'path = "m{index}.img"', f"size = {size}", "sparse = true"]
    layout = directory / LAYOUT
    layout.write_text("\n".join(lines) + "\n")
    return layout


def create(layout: Path) -> None:
    """Make the volume, as `iomapd create` does."""
    create_volume(load_layout(layout))


def errors_as_os(method):
    """Let a handler's errno arrive as the `OSError` that an application sees."""

    async def called(*args, **kwargs):
        try:
            return await method(*args, **kwargs)
        except pyfuse3.FUSEError as exc:
            raise OSError(exc.errno, os.strerror(exc.errno)) from exc

    return called


class Plane:
    """One open volume; made by `opened`."""

    owner = (CALLER.uid, CALLER.gid)
    splits = False  # a write arrives as it was made

    def __init__(self, control: ControlPlane) -> None:
        self.control = control
        self._ask = Operations(control, Caching(THROUGH, lambda _: False))
        self._known: dict[int, int] = {}
        self._opens: dict[int, int] = {}
        self._inode_of: dict[int, int] = {}

    # -- what the kernel does around every request

    def _split(self, path: str) -> tuple[int, bytes]:
        parent, _, name = path.rpartition("/")
        return self.ino(parent), os.fsencode(name)

    def ino(self, path: str) -> int:
        """The inode number that *path* leads to."""
        return self.control.names.resolve(os.fsencode(path))

    def _refer(self, entry) -> int:
        self._known[entry.st_ino] = self._known.get(entry.st_ino, 0) + 1
        return entry.st_ino

    async def _forget(self, ino: int) -> None:
        if not self._opens.get(ino):
            count = self._known.pop(ino, 0)
            if count:
                await self._ask.forget([(ino, count)])

    # -- files

    @errors_as_os
    async def create(self, path: str) -> tuple[int, int]:
        """Make and open a file: ``(ino, handle)``."""
        info, entry = await self._ask.create(*self._split(path), 0o100644, os.O_RDWR, CALLER)
        return self._opened(self._refer(entry), info.fh), info.fh

    @errors_as_os
    async def open(self, path: str) -> int:
        """Open a file, return its handle."""
        ino = self._refer(await self._ask.lookup(*self._split(path), CALLER))
        info = await self._ask.open(ino, os.O_RDWR, CALLER)
        self._opened(ino, info.fh)
        return info.fh

    def _opened(self, ino: int, handle: int) -> int:
        self._opens[ino] = self._opens.get(ino, 0) + 1
        self._inode_of[handle] = ino
        return ino

    @errors_as_os
    async def close(self, handle: int) -> None:
        """Close a handle; the kernel forgets a file that no name leads to."""
        ino = self._inode_of.pop(handle)
        await self._ask.flush(handle)
        await self._ask.release(handle)
        self._opens[ino] -= 1
        await self._forget(ino)

    @errors_as_os
    async def write(self, handle: int, pos: int, data: bytes, *, dsync: bool = False) -> int:
        """Write; with *dsync* as to a file opened with O_DSYNC | O_DIRECT."""
        return await self._ask.write(handle | (FH_DSYNC if dsync else 0), pos, data)

    @errors_as_os
    async def read(self, path: str) -> bytes:
        """The whole file."""
        handle = await self.open(path)
        pieces, pos = [], 0
        while piece := bytes(await self._ask.read(handle, pos, READ_MAX)):
            pieces.append(piece)
            pos += len(piece)
        await self.close(handle)
        return b"".join(pieces)

    @errors_as_os
    async def truncate(self, path: str, size: int) -> None:
        """Set the size."""
        await self._set(path, "size", size)

    async def migrate(self, path: str, **layout) -> None:
        """Move a file into another layout, which new files get from now on, too."""
        root = self.control.core.inode(self.ino(""))
        await self.control.layouts.set(root, **layout)
        ask, ino = self.control.handlers()["migrate"], self.ino(path)
        answer = {"pos": 0, "done": False}
        while not answer["done"]:
            answer = await ask(
                {"ino": ino, "directory": root.ino, "pos": answer["pos"], "limit": 64 << 10}
            )

    @errors_as_os
    async def fsync(self, handle: int, *, data_only: bool = False) -> None:
        """Fsync, or fdatasync."""
        await self._ask.fsync(handle, data_only)

    # -- names

    @errors_as_os
    async def mkdir(self, path: str) -> int:
        """Make a directory; return its inode number."""
        return self._refer(await self._ask.mkdir(*self._split(path), 0o40755, CALLER))

    @errors_as_os
    async def symlink(self, path: str, target: bytes) -> int:
        """Make a symbolic link; return its inode number."""
        return self._refer(await self._ask.symlink(*self._split(path), target, CALLER))

    @errors_as_os
    async def link(self, path: str, new: str) -> None:
        """Give a file one more name."""
        self._refer(await self._ask.link(self.ino(path), *self._split(new), CALLER))

    @errors_as_os
    async def unlink(self, path: str) -> None:
        """Remove a name."""
        ino = self.ino(path)
        await self._ask.unlink(*self._split(path), CALLER)
        await self._forget(ino)

    @errors_as_os
    async def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        ino = self.ino(path)
        await self._ask.rmdir(*self._split(path), CALLER)
        await self._forget(ino)

    @errors_as_os
    async def rename(self, path: str, new: str, *, exchange: bool = False) -> None:
        """Move a name, or exchange two."""
        replaced = self.control.names.lookup(*self._split(new))
        flags = pyfuse3.RENAME_EXCHANGE if exchange else 0
        await self._ask.rename(*self._split(path), *self._split(new), flags, CALLER)
        if replaced is not None:
            await self._forget(replaced.ino)

    @errors_as_os
    async def fsyncdir(self, path: str) -> None:
        """Fsync a directory."""
        await self._ask.fsyncdir(self.ino(path), False)

    # -- attributes

    async def _set(self, path: str, field: str, value: int) -> None:
        attributes = pyfuse3.EntryAttributes()
        setattr(attributes, f"st_{field}", value)
        fields = SimpleNamespace(**{**vars(NOTHING), f"update_{field}": True})
        await self._ask.setattr(self.ino(path), attributes, fields, None, CALLER)

    @errors_as_os
    async def chmod(self, path: str, mode: int) -> None:
        """Set the permissions."""
        await self._set(path, "mode", mode)

    @errors_as_os
    async def set_xattr(self, path: str, name: bytes, value: bytes) -> None:
        """Set or replace an extended attribute."""
        await self._ask.setxattr(self.ino(path), name, value, CALLER)

    @errors_as_os
    async def remove_xattr(self, path: str, name: bytes) -> None:
        """Remove an extended attribute."""
        await self._ask.removexattr(self.ino(path), name, CALLER)

    # -- questions

    @errors_as_os
    async def free(self) -> tuple[int, int]:
        """Free bytes and all bytes, of all members."""
        found = await self._ask.statfs(CALLER)
        return found.f_bfree * found.f_frsize, found.f_blocks * found.f_frsize

    async def tree(self) -> dict[str, Node]:
        """Every name of the volume but the root's, and what it leads to."""
        found: dict[str, Node] = {}
        await self._walk("", self.ino(""), found)
        return found

    @errors_as_os
    async def _walk(self, path: str, ino: int, found: dict[str, Node]) -> None:
        for _, raw, there in list(self.control.names.list(ino, 0)):
            name = f"{path}/{os.fsdecode(raw)}" if path else os.fsdecode(raw)
            is_link = stat.S_ISLNK(there.mode)
            target = await self._ask.readlink(there.ino, CALLER) if is_link else b""
            xattrs = []
            for key in await self._ask.listxattr(there.ino, CALLER):
                xattrs.append((key, await self._ask.getxattr(there.ino, key, CALLER)))
            found[name] = Node(
                there.ino, there.mode, there.uid, there.gid, there.nlink, target, tuple(xattrs)
            )
            if stat.S_ISDIR(there.mode):
                await self._walk(name, there.ino, found)


@asynccontextmanager
async def opened(layout: Path):
    """Open the volume of *layout*, with its task that makes points; end it in order.

    Raises:
        IomapdError: it is refused.
    """
    store, members = open_volume(load_layout(layout), read_only=False, mountpoint=None)
    try:
        control = ControlPlane(store, members, read_only=False)
    except BaseException:
        store.close()
        for member in members:
            member.close()
        raise
    try:
        control.begin()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(control.points.run)
            yield Plane(control)
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await control.end()
