# SPDX-License-Identifier: MIT
"""The kernel's part, imitated: pyfuse3's handlers called as the kernel calls them.

Paths are walked name by name, what the kernel checks before it asks is checked here, and
references are counted and given back.  Errors are OSError.
"""

from __future__ import annotations

import errno
import os
import stat
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import pyfuse3

from iomapd.abi.fuse import FH_DSYNC
from tests.model.driver import Seen
from tests.model.filesystem import EXCHANGE, NOREPLACE

if TYPE_CHECKING:
    from collections.abc import Callable

    from iomapd.fuse.operations import Operations
    from tests.model.filesystem import Path

ROOT = 1
CALLER = SimpleNamespace(uid=0, gid=0, pid=1, umask=0o022)
MAX_WRITE = 128 << 10


class Kernel:
    """System calls as coroutines; `Driver` says what each is."""

    def __init__(self, operations: Operations) -> None:
        self._ops = operations
        self._references: dict[int, int] = {}
        self._open: dict[int, int] = {}

    # --- asking -----------------------------------------------------------------------

    async def _call(self, handler: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return await handler(*arguments)
        except pyfuse3.FUSEError as error:
            raise OSError(error.errno, os.strerror(error.errno)) from None

    def _referenced(self, entry: Any) -> Any:
        """An entry that a reply handed over: one reference more."""
        self._references[entry.st_ino] = self._references.get(entry.st_ino, 0) + 1
        return entry

    async def _walk(self, path: Path) -> Any:
        ino = ROOT
        entry = await self._call(self._ops.getattr, ino, CALLER)
        for name in path:
            entry = await self._call(self._ops.lookup, ino, name, CALLER)
            if not entry.st_ino:
                raise OSError(errno.ENOENT, "no such name")
            ino = self._referenced(entry).st_ino
        return entry

    async def _ino(self, path: Path) -> int:
        return (await self._walk(path)).st_ino

    async def _give_back(self, ino: int) -> None:
        """FORGET, once nothing holds an inode."""
        if ino in self._references and ino not in self._open.values():
            await self._call(self._ops.forget, [(ino, self._references.pop(ino))])

    async def forget(self) -> None:
        for ino in list(self._references):
            await self._give_back(ino)

    # --- names ------------------------------------------------------------------------

    async def make_file(self, path: Path, mode: int) -> int:
        parent, flags = await self._ino(path[:-1]), os.O_RDWR | os.O_CREAT | os.O_EXCL
        if await self._is_there(path):
            raise OSError(errno.EEXIST, "the name exists")
        info, entry = await self._call(
            self._ops.create, parent, path[-1], stat.S_IFREG | mode, flags, CALLER
        )
        return self._opened(info, self._referenced(entry).st_ino)

    async def _is_there(self, path: Path) -> bool:
        try:
            await self._walk(path)
        except FileNotFoundError:
            return False
        return True

    async def make_directory(self, path: Path, mode: int) -> None:
        parent = await self._ino(path[:-1])
        made = await self._call(self._ops.mkdir, parent, path[-1], stat.S_IFDIR | mode, CALLER)
        self._referenced(made)

    async def make_symlink(self, path: Path, target: bytes) -> None:
        parent = await self._ino(path[:-1])
        self._referenced(await self._call(self._ops.symlink, parent, path[-1], target, CALLER))

    async def link(self, old: Path, new: Path) -> None:
        entry, parent = await self._walk(old), await self._ino(new[:-1])
        if await self._is_there(new):
            raise OSError(errno.EEXIST, "the name exists")
        if stat.S_ISDIR(entry.st_mode):
            raise OSError(errno.EPERM, "a directory has one name")
        made = await self._call(self._ops.link, entry.st_ino, parent, new[-1], CALLER)
        self._referenced(made)

    async def unlink(self, path: Path) -> None:
        await self._remove(self._ops.unlink, path)

    async def rmdir(self, path: Path) -> None:
        await self._remove(self._ops.rmdir, path)

    async def _remove(self, handler: Callable[..., Any], path: Path) -> None:
        ino = await self._ino(path)
        await self._call(handler, await self._ino(path[:-1]), path[-1], CALLER)
        await self._give_back_if_gone(ino)

    async def _give_back_if_gone(self, ino: int) -> None:
        """The kernel drops an inode with its last name, unless it is open."""
        entry = await self._call(self._ops.getattr, ino, CALLER)
        if entry.st_nlink == 0:
            await self._give_back(ino)

    async def rename(self, old: Path, new: Path, flags: int) -> None:
        parents = await self._ino(old[:-1]), await self._ino(new[:-1])
        one = await self._ino(old)
        there = await self._ino(new) if await self._is_there(new) else None
        _check_rename(old, new, flags, is_there=there is not None)
        if there == one:
            return
        await self._call(self._ops.rename, parents[0], old[-1], parents[1], new[-1], flags, CALLER)
        if there is not None and flags != EXCHANGE:
            await self._give_back_if_gone(there)

    async def names(self, path: Path) -> set[bytes]:
        found: dict[bytes, Any] = {}

        def reply(token: object, name: bytes, entry: Any, position: int) -> bool:
            found[name] = entry
            return True

        ino = await self._ino(path)
        await self._call(self._ops.opendir, ino, CALLER)
        with mock.patch.object(pyfuse3, "readdir_reply", reply):
            await self._call(self._ops.readdir, ino, 0, None)
        await self._call(self._ops.releasedir, ino)
        assert {b".", b".."} <= set(found)
        names = set(found) - {b".", b".."}
        for name in names:
            self._referenced(found[name])
        return names

    async def target(self, path: Path) -> bytes:
        return await self._call(self._ops.readlink, await self._ino(path), CALLER)

    # --- attributes -------------------------------------------------------------------

    async def see(self, path: Path) -> Seen:
        e = await self._call(self._ops.getattr, await self._ino(path), CALLER)
        return Seen(
            e.st_ino, stat.S_IFMT(e.st_mode), stat.S_IMODE(e.st_mode), (e.st_uid, e.st_gid),
            e.st_nlink, e.st_size, e.st_blocks * 512, e.st_mtime_ns,
        )  # fmt: skip

    async def _set(self, ino: int, fh: int | None = None, **values: int) -> None:
        named = ("mode", "uid", "gid", "atime", "mtime", "ctime", "size")
        stems = {name.removesuffix("_ns") for name in values}
        fields = SimpleNamespace(**{f"update_{name}": name in stems for name in named})
        attributes = SimpleNamespace(**{f"st_{name}": value for name, value in values.items()})
        await self._call(self._ops.setattr, ino, attributes, fields, fh, CALLER)

    async def set_mode(self, path: Path, mode: int) -> None:
        entry = await self._walk(path)
        await self._set(entry.st_ino, mode=stat.S_IFMT(entry.st_mode) | mode)

    async def set_owner(self, path: Path, owner: tuple[int, int]) -> None:
        await self._set(await self._ino(path), uid=owner[0], gid=owner[1])

    async def set_mtime(self, path: Path, mtime_ns: int) -> None:
        await self._set(await self._ino(path), atime_ns=mtime_ns, mtime_ns=mtime_ns)

    async def set_xattr(self, path: Path, name: bytes, value: bytes, flags: int) -> None:
        ino = await self._bearer(path)
        # pyfuse3 hands no flags on: it asks for the value first.
        if flags and (name in await self.xattr_names(path)) != (flags == os.XATTR_REPLACE):
            raise OSError(errno.EEXIST if flags == os.XATTR_CREATE else errno.ENODATA, "flags")
        await self._call(self._ops.setxattr, ino, name, value, CALLER)

    async def remove_xattr(self, path: Path, name: bytes) -> None:
        await self._call(self._ops.removexattr, await self._bearer(path), name, CALLER)

    async def _bearer(self, path: Path) -> int:
        entry = await self._walk(path)
        if stat.S_ISLNK(entry.st_mode):
            raise OSError(errno.EPERM, "user.* belongs on files and directories")
        return entry.st_ino

    async def xattr(self, path: Path, name: bytes) -> bytes:
        return await self._call(self._ops.getxattr, await self._ino(path), name, CALLER)

    async def xattr_names(self, path: Path) -> set[bytes]:
        return set(await self._call(self._ops.listxattr, await self._ino(path), CALLER))

    # --- files ------------------------------------------------------------------------

    def _opened(self, info: Any, ino: int) -> int:
        self._open[info.fh] = ino
        return info.fh

    async def open(self, path: Path) -> int:
        ino = await self._ino(path)
        return self._opened(await self._call(self._ops.open, ino, os.O_RDWR, CALLER), ino)

    async def close(self, handle: int) -> None:
        await self._call(self._ops.flush, handle)
        await self._call(self._ops.release, handle)
        ino = self._open.pop(handle)
        await self._give_back_if_gone(ino)

    async def size(self, handle: int) -> int:
        entry = await self._call(self._ops.getattr, self._open[handle], CALLER)
        return entry.st_size

    async def read(self, handle: int, pos: int, count: int) -> bytes:
        async def copied() -> bytes:
            return bytes(await self._ops.read(handle, pos, count))

        return await self._call(copied)

    async def write(self, handle: int, pos: int, data: bytes, *, is_synced: bool) -> int:
        fh, done = handle | (FH_DSYNC if is_synced else 0), 0
        while done < len(data):
            piece = data[done : done + MAX_WRITE]
            try:
                put = await self._call(self._ops.write, fh, pos + done, piece)
            except OSError:
                if not done:
                    raise
                break
            done += put
            if put < len(piece):
                break
        return done

    async def truncate(self, handle: int, size: int) -> None:
        await self._set(self._open[handle], fh=handle, size=size)

    async def sync(self, handle: int, *, data_only: bool) -> None:
        await self._call(self._ops.fsync, handle, data_only)

    async def sync_directory(self, path: Path) -> None:
        await self._call(self._ops.fsyncdir, await self._ino(path), False)

    async def space(self) -> tuple[int, int]:
        found = await self._call(self._ops.statfs, CALLER)
        return (found.f_blocks - found.f_bfree) * found.f_frsize, found.f_blocks * found.f_frsize


def _check_rename(old: Path, new: Path, flags: int, *, is_there: bool) -> None:
    if flags == NOREPLACE and is_there:
        raise OSError(errno.EEXIST, "the name exists")
    if flags == EXCHANGE and not is_there:
        raise OSError(errno.ENOENT, "nothing to exchange with")
    if new[: len(old)] == old and new != old:
        raise OSError(errno.EINVAL, "into itself")
    if old[: len(new)] == new and new != old:
        raise OSError(errno.EINVAL if flags == EXCHANGE else errno.ENOTEMPTY, "onto a parent")
