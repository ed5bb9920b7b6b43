# SPDX-License-Identifier: MIT
"""A model of a directory tree, and a machine that does the same to it and to a real one.

The model is a graph of `Node`s; every operation first decides what must happen (a
value, or an errno) and then does it to the model.  Whatever the real tree answers
must be the same.  It knows the errors that the name space itself gives (ENOENT,
EEXIST, ENOTEMPTY, EISDIR, ENOTDIR, EINVAL for a directory moved into itself, ENODATA,
EPERM for a hard link to a directory); permissions are the subject of other tests.
"""

from __future__ import annotations

import collections
import errno
import os
import random
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.mounted import syscalls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAMES = [b"a", b"b", b"c", b"\xff\xfe raw", "änder".encode(), b"." + b"n" * 254]
# What opening anything but a file for writing answers, with O_NOFOLLOW | O_NONBLOCK.
NO_WRITE = {stat.S_IFDIR: errno.EISDIR, stat.S_IFLNK: errno.ELOOP, stat.S_IFIFO: errno.ENXIO}
XATTRS = ["user.one", "user.two", "user.\u00e9"]


@dataclass(eq=False)
class Node:
    """One inode: *entries* for a directory, *data* for a file, *target* for a symlink."""

    kind: int
    mode: int
    uid: int
    gid: int
    entries: dict[bytes, Node] = field(default_factory=dict)
    data: bytes = b""
    target: bytes = b""
    xattrs: dict[str, bytes] = field(default_factory=dict)
    times: tuple[int, int] | None = None
    nlink: int = 1

    @property
    def is_dir(self) -> bool:
        """Whether this is a directory."""
        return self.kind == stat.S_IFDIR


class Refused(Exception):
    """The model's answer is an errno."""

    def __init__(self, number: int) -> None:
        super().__init__(errno.errorcode[number])
        self.errno = number


class TreeMachine:
    """The model, the real tree, and random operations on both."""

    def __init__(self, root: Path, seed: int) -> None:
        """Start with the empty directory *root*."""
        self.path = os.fsencode(root)
        self.random = random.Random(seed)
        self.uid, self.gid = os.geteuid(), os.getegid()
        self.root = self._node(stat.S_IFDIR, 0o755)
        os.chmod(root, 0o755)
        self.history: collections.deque[str] = collections.deque(maxlen=60)
        self.done: collections.Counter[str] = collections.Counter()

    def _node(self, kind: int, mode: int, **more: object) -> Node:
        return Node(kind, mode, self.uid, self.gid, **more)

    # --- places -----------------------------------------------------------------

    def walk(self) -> Iterator[tuple[tuple[bytes, ...], Node]]:
        """Every (names, node) below the root, parents first."""
        waiting: list[tuple[tuple[bytes, ...], Node]] = [((), self.root)]
        while waiting:
            names, node = waiting.pop()
            yield names, node
            waiting += [((*names, name), child) for name, child in node.entries.items()]

    def real(self, names: tuple[bytes, ...]) -> bytes:
        """The real path of *names*."""
        return b"/".join((self.path, *names))

    def place(self) -> tuple[bytes, ...]:
        """A random place: a directory of at most four levels and a name, there or not."""
        directories = [n for n, node in self.walk() if node.is_dir and len(n) < 4]
        return (*self.random.choice(directories), self.random.choice(NAMES))

    def _parent(self, names: tuple[bytes, ...]) -> Node:
        node = self.root
        for name in names[:-1]:
            if not node.is_dir:
                raise Refused(errno.ENOTDIR)
            if name not in node.entries:
                raise Refused(errno.ENOENT)
            node = node.entries[name]
        if not node.is_dir:
            raise Refused(errno.ENOTDIR)
        return node

    def _find(self, names: tuple[bytes, ...]) -> Node:
        parent = self._parent(names)
        if names[-1] not in parent.entries:
            raise Refused(errno.ENOENT)
        return parent.entries[names[-1]]

    def _free(self, names: tuple[bytes, ...]) -> Node:
        """The parent of a name that must not be there yet."""
        parent = self._parent(names)
        if names[-1] in parent.entries:
            raise Refused(errno.EEXIST)
        return parent

    # --- operations: each yields the real action, then changes the model -----------

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

    def _drop(self, names: tuple[bytes, ...]) -> None:
        self._parent(names).entries.pop(names[-1]).nlink -= 1

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

    def _rename(self, old: tuple[bytes, ...], new: tuple[bytes, ...]) -> None:
        node, parent = self._find(old), self._parent(new)
        there = parent.entries.get(new[-1])
        if new[: len(old)] == old and len(new) > len(old):
            raise Refused(errno.EINVAL)
        if old[: len(new)] == new and len(old) > len(new):
            raise Refused(errno.ENOTEMPTY)
        if there is node:  # also two names of one file: POSIX says nothing happens
            return
        if there is not None:
            if there.is_dir and not node.is_dir:
                raise Refused(errno.EISDIR)
            if node.is_dir and not there.is_dir:
                raise Refused(errno.ENOTDIR)
            if there.entries:
                raise Refused(errno.ENOTEMPTY)
            there.nlink -= 1
        del self._parent(old).entries[old[-1]]
        parent.entries[new[-1]] = node

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

    def _owner_of_xattrs(self, names: tuple[bytes, ...]) -> Node:
        node = self._find(names)
        if node.kind not in (stat.S_IFREG, stat.S_IFDIR):
            raise Refused(errno.EPERM)  # user.* belongs on files and directories
        return node

    # --- the run --------------------------------------------------------------------

    OPERATIONS = (
        "create",
        "create",
        "mkdir",
        "mkdir",
        "symlink",
        "mkfifo",
        "link",
        "link",
        "unlink",
        "rmdir",
        "rename",
        "rename",
        "rename_noreplace",
        "exchange",
        "write",
        "chmod",
        "chown",
        "utimens",
        "setxattr",
        "setxattr",
        "removexattr",
    )

    def run(self, steps: int) -> None:
        """Do *steps* random operations on both.

        Raises:
            AssertionError: with the last operations, on the first difference.
        """
        for _ in range(steps):
            name = self.random.choice(self.OPERATIONS)
            real, model, text = getattr(self, name)()
            wanted, found = outcome(model), outcome(real)
            self.history.append(f"{name} {text} -> {wanted}")
            self.done[f"{name} {wanted}"] += 1
            assert found == wanted, f"answered {found}, not {wanted}:\n" + "\n".join(self.history)

    def compare(self) -> None:
        """Walk the real tree beside the model; names, kinds, attributes and contents are equal."""
        inodes: dict[int, Node] = {}
        for names, node in self.walk():
            path = self.real(names)
            for what, wanted, found in differences(path, node):
                story = "\n".join(self.history)
                assert found == wanted, f"{what} of {path!r}: {found!r}, not {wanted!r}\n{story}"
            # One inode number for one node, and for no other.
            assert inodes.setdefault(os.lstat(path).st_ino, node) is node, f"st_ino of {names}"


def shown(names: tuple[bytes, ...]) -> str:
    """A path for a message; a name of 255 bytes would hide the rest."""
    return "/".join(name.decode(errors="backslashreplace")[:8] for name in names)


def outcome(action: Callable[[], object]) -> str:
    """ "ok", or the name of the errno that *action* ended with."""
    try:
        action()
    except (OSError, Refused) as error:
        return errno.errorcode[error.errno]
    return "ok"


def differences(path: bytes, node: Node) -> Iterator[tuple[str, object, object]]:
    """(what, wanted, found) for everything that can be seen of one file."""
    status = os.lstat(path)
    yield "kind", node.kind, stat.S_IFMT(status.st_mode)
    if node.kind != stat.S_IFLNK:
        yield "mode", oct(node.mode), oct(stat.S_IMODE(status.st_mode))
    yield "owner", (node.uid, node.gid), (status.st_uid, status.st_gid)
    if node.is_dir:
        subdirectories = sum(child.is_dir for child in node.entries.values())
        yield "links", 2 + subdirectories, status.st_nlink
        yield "names", sorted(node.entries), sorted(os.listdir(path))
    else:
        yield "links", node.nlink, status.st_nlink
    if node.times and not node.is_dir:  # a directory's times move with its entries
        # The access time of a symlink moves when somebody reads it.
        found = (status.st_atime_ns, status.st_mtime_ns)
        yield "mtime", node.times[1], found[1]
    if node.kind == stat.S_IFLNK:
        yield "target", node.target, os.readlink(path)
    if node.kind == stat.S_IFREG:
        yield "size", len(node.data), status.st_size
        with open(path, "rb") as file:
            yield "data", node.data, file.read()
    if node.kind in (stat.S_IFREG, stat.S_IFDIR):
        names = [n for n in os.listxattr(path) if n in XATTRS]
        yield "xattrs", node.xattrs, {n: os.getxattr(path, n) for n in names}
