# SPDX-License-Identifier: MIT
"""The driver of a mounted volume: system calls, and `kill -9` of its server."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from typing import TYPE_CHECKING

from tests.model.driver import LAYOUT_XATTR, Plan, Seen
from tests.mounted import syscalls
from tests.mounted.harness import bytes_of

if TYPE_CHECKING:
    from tests.model.filesystem import Path
    from tests.mounted.harness import Volume


class OnMount:
    """A volume that is mounted, emptied first; see `Driver` for the methods."""

    is_exact = False

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self.owner = (os.geteuid(), os.getegid())
        space = os.statvfs(volume.mnt)
        each = space.f_blocks * space.f_frsize // len(volume.members)
        self.plan = Plan(bytes_of(volume.unit), (each,) * len(volume.members))
        self._root = os.fsencode(volume.mnt)
        self._fds: set[int] = set()
        for name in os.listdir(self._root):
            path = os.path.join(self._root, name)
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
        self.set_xattr((), LAYOUT_XATTR, b"unit=%d width=0" % self.plan.unit, 0)

    def _at(self, path: Path) -> bytes:
        return b"/".join((self._root, *path))

    # --- names ------------------------------------------------------------------------

    def make_file(self, path: Path, mode: int) -> int:
        fd = os.open(self._at(path), os.O_CREAT | os.O_EXCL | os.O_RDWR, mode)
        self._fds.add(fd)
        return fd

    def make_directory(self, path: Path, mode: int) -> None:
        os.mkdir(self._at(path), mode)

    def make_symlink(self, path: Path, target: bytes) -> None:
        os.symlink(target, self._at(path))

    def link(self, old: Path, new: Path) -> None:
        os.link(self._at(old), self._at(new), follow_symlinks=False)

    def unlink(self, path: Path) -> None:
        os.unlink(self._at(path))

    def rmdir(self, path: Path) -> None:
        os.rmdir(self._at(path))

    def rename(self, old: Path, new: Path, flags: int) -> None:
        syscalls.renameat2(self._at(old), self._at(new), flags)

    def names(self, path: Path) -> set[bytes]:
        return set(os.listdir(self._at(path)))

    def target(self, path: Path) -> bytes:
        return os.readlink(self._at(path))

    # --- attributes -------------------------------------------------------------------

    def see(self, path: Path) -> Seen:
        s = os.lstat(self._at(path))
        return Seen(
            s.st_ino, stat.S_IFMT(s.st_mode), stat.S_IMODE(s.st_mode), (s.st_uid, s.st_gid),
            s.st_nlink, s.st_size, s.st_blocks * 512, s.st_mtime_ns,
        )  # fmt: skip

    def set_mode(self, path: Path, mode: int) -> None:
        os.chmod(self._at(path), mode)

    def set_owner(self, path: Path, owner: tuple[int, int]) -> None:
        os.lchown(self._at(path), *owner)

    def set_mtime(self, path: Path, mtime_ns: int) -> None:
        os.utime(self._at(path), ns=(mtime_ns, mtime_ns), follow_symlinks=False)

    def set_xattr(self, path: Path, name: bytes, value: bytes, flags: int) -> None:
        os.setxattr(self._at(path), name, value, flags, follow_symlinks=False)

    def remove_xattr(self, path: Path, name: bytes) -> None:
        os.removexattr(self._at(path), name, follow_symlinks=False)

    def xattr(self, path: Path, name: bytes) -> bytes:
        return os.getxattr(self._at(path), name, follow_symlinks=False)

    def xattr_names(self, path: Path) -> set[bytes]:
        return {os.fsencode(name) for name in os.listxattr(self._at(path), follow_symlinks=False)}

    # --- files ------------------------------------------------------------------------

    def open(self, path: Path) -> int:
        fd = os.open(self._at(path), os.O_RDWR)
        self._fds.add(fd)
        return fd

    def close(self, handle: int) -> None:
        self._fds.discard(handle)
        os.close(handle)

    def size(self, handle: int) -> int:
        return os.fstat(handle).st_size

    def read(self, handle: int, pos: int, count: int) -> bytes:
        return os.pread(handle, count, pos)

    def write(self, handle: int, pos: int, data: bytes, *, is_synced: bool) -> int:
        return os.pwritev(handle, [data], pos, os.RWF_DSYNC if is_synced else 0)

    def truncate(self, handle: int, size: int) -> None:
        os.ftruncate(handle, size)

    def sync(self, handle: int, *, data_only: bool) -> None:
        (os.fdatasync if data_only else os.fsync)(handle)

    def sync_directory(self, path: Path) -> None:
        fd = os.open(self._at(path), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    # --- the volume -------------------------------------------------------------------

    def space(self) -> tuple[int, int]:
        found = os.statvfs(self._root)
        return (found.f_blocks - found.f_bfree) * found.f_frsize, found.f_blocks * found.f_frsize

    def forget(self) -> None:
        """The page cache of every file, so that the next read asks the server."""
        for fd in self._fds:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def _close_all(self) -> None:
        for fd in self._fds:
            with contextlib.suppress(OSError):  # its server may be dead
                os.close(fd)
        self._fds.clear()

    def crash(self) -> None:
        self._volume.kill9()
        self._close_all()
        self._volume.mount()

    def remount(self) -> None:
        self._close_all()
        self._volume.remount()

    def findings(self) -> list[str]:
        return self._volume.fsck()

    def end(self) -> None:
        self._close_all()
