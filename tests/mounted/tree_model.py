# SPDX-License-Identifier: MIT
"""A model of a directory tree: a graph of `Node`s, and the rules by which names change.

It knows the errors that the name space itself gives (ENOENT, EEXIST, ENOTEMPTY, EISDIR, ENOTDIR,
EINVAL for a directory moved into itself, EPERM for a hard link to a directory); permissions
are the subject of other tests.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


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


class Tree:
    """The tree below *root*; a place is the names that lead to it."""

    def __init__(self) -> None:
        """Start with an empty directory of this process's user."""
        self.uid, self.gid = os.geteuid(), os.getegid()
        self.root = self._node(stat.S_IFDIR, 0o755)

    def _node(self, kind: int, mode: int, **more: object) -> Node:
        return Node(kind, mode, self.uid, self.gid, **more)

    def walk(self) -> Iterator[tuple[tuple[bytes, ...], Node]]:
        """Every (names, node) below the root, parents first."""
        waiting: list[tuple[tuple[bytes, ...], Node]] = [((), self.root)]
        while waiting:
            names, node = waiting.pop()
            yield names, node
            waiting += [((*names, name), child) for name, child in node.entries.items()]

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

    def _drop(self, names: tuple[bytes, ...]) -> None:
        self._parent(names).entries.pop(names[-1]).nlink -= 1

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

    def _owner_of_xattrs(self, names: tuple[bytes, ...]) -> Node:
        node = self._find(names)
        if node.kind not in (stat.S_IFREG, stat.S_IFDIR):
            raise Refused(errno.EPERM)  # user.* belongs on files and directories
        return node
