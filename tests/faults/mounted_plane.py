# SPDX-License-Identifier: MIT
"""A mounted volume with the methods of `plane.Plane`: what applications do, by system calls."""

from __future__ import annotations

import os
import stat
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.plane import Node
from tests.mounted.syscalls import renameat2

if TYPE_CHECKING:
    from tests.mounted.harness import Volume

RENAME_EXCHANGE = 2


class MountedPlane:
    """One mount at *mnt*; its calls block."""

    owner = (os.getuid(), os.getgid())
    splits = True  # the kernel may send one write as several requests

    def __init__(self, mnt: Path) -> None:
        self._mnt = mnt

    # -- files

    async def create(self, path: str) -> tuple[int, int]:
        """Make and open a file: ``(ino, handle)``."""
        fd = os.open(self._mnt / path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        return os.fstat(fd).st_ino, fd

    async def open(self, path: str) -> int:
        """Open a file, return its handle."""
        return os.open(self._mnt / path, os.O_RDWR | os.O_CLOEXEC)

    async def close(self, handle: int) -> None:
        """Close a handle."""
        os.close(handle)

    async def write(self, handle: int, pos: int, data: bytes, *, dsync: bool = False) -> int:
        """Write; with *dsync* as by O_DSYNC."""
        return os.pwritev(handle, [data], pos, os.RWF_DSYNC if dsync else 0)

    async def read(self, path: str) -> bytes:
        """The whole file."""
        return (self._mnt / path).read_bytes()

    async def truncate(self, path: str, size: int) -> None:
        """Set the size."""
        os.truncate(self._mnt / path, size)

    async def fsync(self, handle: int, *, data_only: bool = False) -> None:
        """Fsync, or fdatasync."""
        (os.fdatasync if data_only else os.fsync)(handle)

    # -- names

    async def mkdir(self, path: str) -> int:
        """Make a directory; return its inode number."""
        os.mkdir(self._mnt / path, 0o755)
        return os.lstat(self._mnt / path).st_ino

    async def symlink(self, path: str, target: bytes) -> int:
        """Make a symbolic link; return its inode number."""
        os.symlink(os.fsdecode(target), self._mnt / path)
        return os.lstat(self._mnt / path).st_ino

    async def link(self, path: str, new: str) -> None:
        """Give a file one more name."""
        os.link(self._mnt / path, self._mnt / new)

    async def unlink(self, path: str) -> None:
        """Remove a name."""
        os.unlink(self._mnt / path)

    async def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        os.rmdir(self._mnt / path)

    async def rename(self, path: str, new: str, *, exchange: bool = False) -> None:
        """Move a name, or exchange two."""
        renameat2(self._mnt / path, self._mnt / new, RENAME_EXCHANGE if exchange else 0)

    async def fsyncdir(self, path: str) -> None:
        """Fsync a directory."""
        fd = os.open(self._mnt / path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    # -- attributes

    async def chmod(self, path: str, mode: int) -> None:
        """Set the permissions."""
        os.chmod(self._mnt / path, mode)

    async def set_xattr(self, path: str, name: bytes, value: bytes) -> None:
        """Set or replace an extended attribute."""
        os.setxattr(self._mnt / path, name, value)

    async def remove_xattr(self, path: str, name: bytes) -> None:
        """Remove an extended attribute."""
        os.removexattr(self._mnt / path, name)

    # -- questions

    async def tree(self) -> dict[str, Node]:
        """Every name of the volume but the root's, and what it leads to."""
        found: dict[str, Node] = {}
        for directory, names, files in os.walk(self._mnt):
            for path in (Path(directory) / name for name in (*names, *files)):
                found[str(path.relative_to(self._mnt))] = _node(path)
        return found


def _node(path: Path) -> Node:
    here = os.lstat(path)
    target = os.fsencode(os.readlink(path)) if stat.S_ISLNK(here.st_mode) else b""
    xattrs = tuple(
        (os.fsencode(name), os.getxattr(path, name, follow_symlinks=False))
        for name in sorted(os.listxattr(path, follow_symlinks=False))
    )
    return Node(here.st_ino, here.st_mode, here.st_uid, here.st_gid, here.st_nlink, target, xattrs)


@asynccontextmanager
async def mounted(volume: Volume):
    """Mount *volume* by the command, unmount it in order."""
    volume.mount()
    yield MountedPlane(volume.mnt)
    volume.umount()
