# SPDX-License-Identifier: MIT
"""A file system in Python: what every operation must answer, and what a crash may leave.

Paths are tuples of names; `()` is the root.  An operation decides first and changes then:
what it may not do it refuses with the errno that POSIX wants, nothing changed.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.model.content import Bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

Path = tuple[bytes, ...]
NOREPLACE, EXCHANGE = 1, 2  # renameat2(2)


class Refused(OSError):
    """The model's answer is an errno."""

    def __init__(self, number: int) -> None:
        super().__init__(number, os.strerror(number))


@dataclass(eq=False)
class Node:
    """One inode.

    Attributes:
        kind: one of S_IFDIR, S_IFREG, S_IFLNK.
        layout: unit in bytes and width, as handed on by directories.
        mtime_ns: when it was set and nothing has moved it since; else None.
        entries, data, target: what a directory, a file, a symlink has.
    """

    kind: int
    mode: int
    layout: tuple[int, int]
    owner: tuple[int, int]
    nlink: int = 1
    mtime_ns: int | None = None
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    entries: dict[bytes, Node] = field(default_factory=dict)
    data: Bytes = field(default_factory=Bytes)
    target: bytes = b""

    @property
    def is_dir(self) -> bool:
        """Whether this is a directory."""
        return self.kind == stat.S_IFDIR

    @property
    def links(self) -> int:
        """Link count; a directory has one for its name, ``.``, and each ``..`` below."""
        return 2 + sum(n.is_dir for n in self.entries.values()) if self.is_dir else self.nlink


class FileSystem:
    """The tree, and files that live on without a name while they are open."""

    def __init__(self, layout: tuple[int, int], owner: tuple[int, int]) -> None:
        self._owner = owner
        self.root = Node(stat.S_IFDIR, 0o755, layout, owner)

    # --- looking ----------------------------------------------------------------------

    def walk(self) -> Iterator[tuple[Path, Node]]:
        """Every path and node, the root first, then in order of depth."""
        waiting: list[tuple[Path, Node]] = [((), self.root)]
        for path, node in waiting:
            yield path, node
            waiting += [((*path, name), child) for name, child in sorted(node.entries.items())]

    def paths(self, kind: int = 0) -> list[Path]:
        """Paths of all nodes but the root, or of those of one kind."""
        return [path for path, node in self.walk() if path and kind in (0, node.kind)]

    def find(self, path: Path) -> Node:
        """The node that *path* leads to."""
        node = self.root
        for name in path:
            if not node.is_dir:
                raise Refused(errno.ENOTDIR)
            if name not in node.entries:
                raise Refused(errno.ENOENT)
            node = node.entries[name]
        return node

    def _parent(self, path: Path) -> Node:
        parent = self.find(path[:-1])
        if not parent.is_dir:
            raise Refused(errno.ENOTDIR)
        return parent

    def _vacant(self, path: Path) -> Node:
        """The directory in which *path*, not there yet, will be."""
        parent = self._parent(path)
        if path[-1] in parent.entries:
            raise Refused(errno.EEXIST)
        return parent

    # --- names ------------------------------------------------------------------------

    def make(self, path: Path, kind: int, mode: int, target: bytes = b"") -> Node:
        """mkdir(2), open(2) with O_CREAT | O_EXCL, symlink(2)."""
        parent = self._vacant(path)
        node = parent.entries[path[-1]] = Node(
            kind, mode, parent.layout, self._owner, target=target
        )
        return node

    def link(self, old: Path, new: Path) -> None:
        """link(2)."""
        node, parent = self.find(old), self._vacant(new)
        if node.is_dir:
            raise Refused(errno.EPERM)
        parent.entries[new[-1]] = node
        node.nlink += 1

    def unlink(self, path: Path) -> None:
        """unlink(2)."""
        if self.find(path).is_dir:
            raise Refused(errno.EISDIR)
        self._drop(path)

    def rmdir(self, path: Path) -> None:
        """rmdir(2)."""
        node = self.find(path)
        if not node.is_dir:
            raise Refused(errno.ENOTDIR)
        if node.entries:
            raise Refused(errno.ENOTEMPTY)
        self._drop(path)

    def _drop(self, path: Path) -> None:
        self._parent(path).entries.pop(path[-1]).nlink -= 1

    def rename(self, old: Path, new: Path, flags: int) -> None:
        """renameat2(2); one that replaces a file makes the new file's data durable first."""
        parent, node = self._parent(new), self.find(old)
        there = parent.entries.get(new[-1])
        if flags == EXCHANGE and there is None:
            raise Refused(errno.ENOENT)
        if flags == NOREPLACE and there is not None:
            raise Refused(errno.EEXIST)
        if new[: len(old)] == old and new != old:
            raise Refused(errno.EINVAL)
        if old[: len(new)] == new and new != old:
            raise Refused(errno.EINVAL if flags == EXCHANGE else errno.ENOTEMPTY)
        if there is node:
            return
        if there is not None and flags == EXCHANGE:
            self._parent(old).entries[old[-1]] = there
        else:
            if there is not None:
                _check_replaceable(node, there)
                node.data.settle()
                there.nlink -= 1
            del self._parent(old).entries[old[-1]]
        parent.entries[new[-1]] = node

    # --- attributes -------------------------------------------------------------------

    def set_xattr(self, path: Path, name: bytes, value: bytes, flags: int) -> None:
        """setxattr(2)."""
        xattrs = self._bearer(path).xattrs
        if flags == os.XATTR_CREATE and name in xattrs:
            raise Refused(errno.EEXIST)
        if flags == os.XATTR_REPLACE and name not in xattrs:
            raise Refused(errno.ENODATA)
        xattrs[name] = value

    def remove_xattr(self, path: Path, name: bytes) -> None:
        """removexattr(2)."""
        if self._bearer(path).xattrs.pop(name, None) is None:
            raise Refused(errno.ENODATA)

    def _bearer(self, path: Path) -> Node:
        node = self.find(path)
        if node.kind == stat.S_IFLNK:
            raise Refused(errno.EPERM)  # user.* belongs on files and directories
        return node

    # --- durability -------------------------------------------------------------------

    def point(self, others: Iterator[Node] | tuple[Node, ...] = ()) -> None:
        """A durability point: everything that was done is durable, *others* without names too."""
        for node in (*(node for _, node in self.walk()), *others):
            node.data.settle()


def _check_replaceable(node: Node, there: Node) -> None:
    if there.is_dir and not node.is_dir:
        raise Refused(errno.EISDIR)
    if node.is_dir and not there.is_dir:
        raise Refused(errno.ENOTDIR)
    if there.entries:
        raise Refused(errno.ENOTEMPTY)
