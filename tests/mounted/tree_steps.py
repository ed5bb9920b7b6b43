# SPDX-License-Identifier: MIT
"""Random operations, each on a real tree and on its model.

A step returns what it does to the real tree, what it does to the model, and its words.  The model
first decides what must happen (nothing, or an errno), and then does it to itself.
"""

from __future__ import annotations

import errno
import os
import random
import stat
from typing import TYPE_CHECKING

from tests.mounted import syscalls
from tests.mounted.tree_model import Refused, Tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMES = [b"a", b"b", b"c", b"\xff\xfe raw", "änder".encode(), b"." + b"n" * 254]
# What opening anything but a file for writing answers, with O_NOFOLLOW | O_NONBLOCK.
NO_WRITE = {stat.S_IFDIR: errno.EISDIR, stat.S_IFLNK: errno.ELOOP, stat.S_IFIFO: errno.ENXIO}
XATTRS = ["user.one", "user.two", "user.\u00e9"]


class Steps(Tree):
    """The model of a real tree, and what may be done to both."""

    def __init__(self, root: Path, seed: int) -> None:
        """Start with the empty directory *root*."""
        super().__init__()
        self.path = os.fsencode(root)
        self.random = random.Random(seed)
        os.chmod(root, 0o755)

    def real(self, names: tuple[bytes, ...]) -> bytes:
        """The real path of *names*."""
        return b"/".join((self.path, *names))

    def place(self) -> tuple[bytes, ...]:
        """A random place: a directory of at most four levels and a name, there or not."""
        directories = [n for n, node in self.walk() if node.is_dir and len(n) < 4]
        return (*self.random.choice(directories), self.random.choice(NAMES))

    def create(self) -> tuple[Callable[[], object], Callable[[], object], str]:
        """O_CREAT | O_EXCL with some bytes."""
        names, data = self.place(), self.random.randbytes(self.random.choice((0, 3, 5000)))

        def real() -> None:
            fd = os.open(self.real(names), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640)
            os.write(fd, data)
            os.close(fd)

        def model() -> None:
            self._free(names).entries[names[-1]] = self._node(stat.S_IFREG, 0o640, data=data)

        return real, model, f"{shown(names)} {len(data)}"

    def mkdir(self) -> tuple[Callable[[], object], Callable[[], object], str]:
        """Make a directory."""
        names = self.place()

        def model() -> None:
            self._free(names).entries[names[-1]] = self._node(stat.S_IFDIR, 0o750)

        return lambda: os.mkdir(self.real(names), 0o750), model, f"{shown(names)}"

    def symlink(self) -> tuple[Callable[[], object], Callable[[], object], str]:
        """Make a symlink; its target is any bytes."""
        names, target = self.place(), self.random.choice((b"a", b"/nowhere/\xff", b"x" * 4095))

        def model() -> None:
            node = self._node(stat.S_IFLNK, 0o777, target=target)
            self._free(names).entries[names[-1]] = node

        return lambda: os.symlink(target, self.real(names)), model, f"{shown(names)} {target[:9]!r}"

    def mkfifo(self) -> tuple[Callable[[], object], Callable[[], object], str]:
        """Make a fifo."""
        names = self.place()

        def model() -> None:
            self._free(names).entries[names[-1]] = self._node(stat.S_IFIFO, 0o600)

        return lambda: os.mkfifo(self.real(names), 0o600), model, f"{shown(names)}"

    def link(self) -> tuple[Callable[[], object], Callable[[], object], str]:
        """Hard link."""
        old, new = self.place(), self.place()

        def model() -> None:
            node = self._find(old)
            parent = self._free(new)
            if node.is_dir:
                raise Refused(errno.EPERM)
            parent.entries[new[-1]] = node
            node.nlink += 1

        def real() -> None:
            os.link(self.real(old), self.real(new), follow_symlinks=False)

        return real, model, f"{shown(old)} {shown(new)}"

    def unlink(self) -> tuple[Callable[[], object], Callable[[], object], str]:
        """Unlink."""
        names = self.place()

        def model() -> None:
            if self._find(names).is_dir:
                raise Refused(errno.EISDIR)
            self._drop(names)

        return lambda: os.unlink(self.real(names)), model, f"{shown(names)}"

    def rmdir(self) -> tuple[Callable[[], object], Callable[[], object], str]:
        """Remove a directory."""
        names = self.place()

        def model() -> None:
            node = self._find(names)
            if not node.is_dir:
                raise Refused(errno.ENOTDIR)
            if node.entries:
                raise Refused(errno.ENOTEMPTY)
            self._drop(names)

        return lambda: os.rmdir(self.real(names)), model, f"{shown(names)}"

    def rename(self) -> tuple[Callable[[], object], Callable[[], object], str]:
        """Rename, replacing what may be replaced."""
        old, new = self.place(), self.place()
        return (
            lambda: os.rename(self.real(old), self.real(new)),
            lambda: self._rename(old, new),
            f"{shown(old)} {shown(new)}",
        )

    def rename_noreplace(self) -> tuple[Callable[[], object], Callable[[], object], str]:
        """renameat2 with RENAME_NOREPLACE."""
        old, new = self.place(), self.place()

        def model() -> None:
            self._find(old)
            self._free(new)
            self._rename(old, new)

        def real() -> None:
            syscalls.renameat2(self.real(old), self.real(new), syscalls.RENAME_NOREPLACE)

        return real, model, f"{shown(old)} {shown(new)}"

    def exchange(self) -> tuple[Callable[[], object], Callable[[], object], str]:
        """renameat2 with RENAME_EXCHANGE."""
        old, new = self.place(), self.place()

        def model() -> None:
            one, parent = self._find(old), self._parent(new)
            other = self._find(new)
            longer, shorter = max(old, new, key=len), min(old, new, key=len)
            if longer != shorter and longer[: len(shorter)] == shorter:
                raise Refused(errno.EINVAL)
            self._parent(old).entries[old[-1]] = other
            parent.entries[new[-1]] = one

        def real() -> None:
            syscalls.renameat2(self.real(old), self.real(new), syscalls.RENAME_EXCHANGE)

        return real, model, f"{shown(old)} {shown(new)}"

    def write(self) -> tuple[Callable[[], object], Callable[[], object], str]:
        """Write a file anew; the same inode under all its names."""
        names, data = self.place(), self.random.randbytes(self.random.choice((1, 4096, 70_000)))

        def model() -> None:
            node = self._find(names)
            if node.kind in NO_WRITE:
                raise Refused(NO_WRITE[node.kind])
            node.data, node.times = data, None

        def real() -> None:
            flags = os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK
            fd = os.open(self.real(names), flags)
            os.write(fd, data)
            os.close(fd)

        return real, model, f"{shown(names)} {len(data)}"

    def chmod(self) -> tuple[Callable[[], object], Callable[[], object], str]:
        """chmod of anything but a symlink."""
        # Always searchable for the owner: an ordinary user has to walk through.
        names, mode = self.place(), self.random.choice((0o700, 0o744, 0o1755, 0o711))

        def model() -> None:
            node = self._find(names)
            if node.kind == stat.S_IFLNK:
                raise Refused(errno.ELOOP)
            node.mode = mode

        def real() -> None:
            if stat.S_ISLNK(os.lstat(self.real(names)).st_mode):
                raise OSError(errno.ELOOP, "no chmod of a symlink here")
            os.chmod(self.real(names), mode)

        return real, model, f"{shown(names)} {mode:o}"

    def chown(self) -> tuple[Callable[[], object], Callable[[], object], str]:
        """lchown; an ordinary user may only say again what is."""
        names = self.place()
        uid, gid = (self.random.choice((0, 1, 65534)) if not self.uid else self.uid, self.gid)

        def model() -> None:
            node = self._find(names)
            node.uid, node.gid = uid, gid

        return lambda: os.lchown(self.real(names), uid, gid), model, f"{shown(names)} {uid}"

    def utimens(self) -> tuple[Callable[[], object], Callable[[], object], str]:
        """Set both times, to the nanosecond; before 1970 and after 2038 too."""
        names = self.place()
        times = tuple(self.random.randint(-(2**31), 2**33) * 10**9 + 123456789 for _ in "am")

        def model() -> None:
            self._find(names).times = times

        def real() -> None:
            os.utime(self.real(names), ns=times, follow_symlinks=False)

        return real, model, f"{shown(names)} {times}"

    def setxattr(self) -> tuple[Callable[[], object], Callable[[], object], str]:
        """setxattr with and without XATTR_CREATE and XATTR_REPLACE."""
        names, key = self.place(), self.random.choice(XATTRS)
        value, flags = self.random.randbytes(30), self.random.choice((0, 1, 2))

        def model() -> None:
            node = self._owner_of_xattrs(names)
            if flags == os.XATTR_CREATE and key in node.xattrs:
                raise Refused(errno.EEXIST)
            if flags == os.XATTR_REPLACE and key not in node.xattrs:
                raise Refused(errno.ENODATA)
            node.xattrs[key] = value

        def real() -> None:
            os.setxattr(self.real(names), key, value, flags, follow_symlinks=False)

        return real, model, f"{shown(names)} {key} {flags}"

    def removexattr(self) -> tuple[Callable[[], object], Callable[[], object], str]:
        """removexattr."""
        names, key = self.place(), self.random.choice(XATTRS)

        def model() -> None:
            if self._owner_of_xattrs(names).xattrs.pop(key, None) is None:
                raise Refused(errno.ENODATA)

        def real() -> None:
            os.removexattr(self.real(names), key, follow_symlinks=False)

        return real, model, f"{shown(names)} {key}"


def shown(names: tuple[bytes, ...]) -> str:
    """A path for a message; a name of 255 bytes would hide the rest."""
    return "/".join(name.decode(errors="backslashreplace")[:8] for name in names)
