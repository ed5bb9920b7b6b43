# SPDX-License-Identifier: MIT
"""A machine that does the same to a model of a directory tree and to a real one.

Whatever the real tree answers must be what the model says (`tree_model`); `tree_steps` has the
operations.
"""

from __future__ import annotations

import collections
import errno
import os
import stat
from typing import TYPE_CHECKING

from tests.mounted.tree_model import Refused
from tests.mounted.tree_steps import XATTRS, Steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.mounted.tree_model import Node


class TreeMachine(Steps):
    """Random operations on both trees, and the comparison."""

    def __init__(self, root: Path, seed: int) -> None:
        """Start with the empty directory *root*."""
        super().__init__(root, seed)
        self.history: collections.deque[str] = collections.deque(maxlen=60)
        self.done: collections.Counter[str] = collections.Counter()

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
