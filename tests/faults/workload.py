# SPDX-License-Identifier: MIT
"""Work on a volume, with an oracle that keeps count of it.

Every method does one thing on the volume and tells the oracle.  Tasks may call them side
by side: whoever changes a file's bytes does so alone, whoever changes names too, and
everything else goes on meanwhile - writes during an fsync of the same file, operations
during a durability point.  What has gone when a task gets its turn is left alone.

Each promise is dated by a mark in the logs.  Every byte says whose it is
(`tests.mounted.tagged`), with a new round for each write.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import trio

from tests.faults.plane import Node
from tests.faults.promises import History, Oracle, Promise
from tests.mounted import tagged

if TYPE_CHECKING:
    from collections.abc import Callable

FILE, DIRECTORY, LINK = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755, stat.S_IFLNK | 0o777


class Workload:
    """What was done to a volume; survives a remount, its open handles do not.

    Attributes:
        oracle: what happened and what was promised.
        tree: every name as it is now.
        handles: open files, by inode number.
    """

    def __init__(self, mark: Callable[[str], None]) -> None:
        self._mark = mark
        self.oracle = Oracle()
        self.tree: dict[str, Node] = {}
        self.handles: dict[int, int] = {}
        self._locks: dict[int, trio.Lock] = {}

    def begin(self, plane) -> None:
        """Work on *plane* from now on."""
        self._plane = plane
        self._names = trio.Lock()
        self._locks.clear()

    async def end(self) -> None:
        """Close what is open."""
        for ino in list(self.handles):
            await self._plane.close(self.handles.pop(ino))

    # -- what there is

    def paths(self, kind: int = stat.S_IFREG) -> list[str]:
        """All names of things of that kind."""
        return [path for path, node in self.tree.items() if stat.S_IFMT(node.mode) == kind]

    def size(self, path: str) -> int:
        """A file's size, bytes."""
        return len(self.oracle.files[self.tree[path].ino].data)

    def _path_of(self, ino: int) -> str | None:
        return next((path for path, node in self.tree.items() if node.ino == ino), None)

    def _can_make(self, path: str) -> bool:
        parent = path.rpartition("/")[0]
        return path not in self.tree and (not parent or parent in self.tree)

    def _lock(self, ino: int) -> trio.Lock:
        return self._locks.setdefault(ino, trio.Lock())

    async def _handle(self, ino: int) -> int | None:
        """A handle of the file, as long as it has a name."""
        if ino not in self.handles:
            path = self._path_of(ino)
            if path is None:
                return None
            handle = await self._plane.open(path)
            self.handles[ino] = handle
        return self.handles[ino]

    # -- the model of names

    def _operated(self, changed: dict[str, Node | None]) -> int:
        for path, node in changed.items():
            if node is None:
                del self.tree[path]
            else:
                self.tree[path] = node
        self._count_links()
        return self.oracle.operated(self.tree)

    def _count_links(self) -> None:
        links: dict[int, int] = {}
        for path, node in self.tree.items():
            is_dir = stat.S_ISDIR(node.mode)
            links[node.ino] = links.get(node.ino, 0) + (2 if is_dir else 1)
            parent = path.rpartition("/")[0]
            if is_dir and parent:
                ino = self.tree[parent].ino
                links[ino] = links.get(ino, 0) + 1
        for path, node in self.tree.items():
            if node.nlink != links[node.ino]:
                self.tree[path] = node._replace(nlink=links[node.ino])

    def _new(self, ino: int, mode: int, target: bytes = b"") -> Node:
        return Node(ino, mode, *self._plane.owner, 1, target, ())

    def _changed(self, path: str, **fields) -> dict[str, Node | None]:
        """All names of the inode behind *path*, with *fields* changed."""
        ino = self.tree[path].ino
        return {p: n._replace(**fields) for p, n in self.tree.items() if n.ino == ino}

    # -- names

    async def create(self, path: str) -> None:
        """Make a file; it stays open."""
        async with self._names:
            if self._can_make(path):
                ino, handle = await self._plane.create(path)
                self.handles[ino] = handle
                self.oracle.files[ino] = History(ino, self._plane.splits)
                self._operated({path: self._new(ino, FILE)})

    async def mkdir(self, path: str) -> None:
        """Make a directory."""
        async with self._names:
            if self._can_make(path):
                self._operated({path: self._new(await self._plane.mkdir(path), DIRECTORY)})

    async def symlink(self, path: str, target: bytes) -> None:
        """Make a symbolic link."""
        async with self._names:
            if self._can_make(path):
                ino = await self._plane.symlink(path, target)
                self._operated({path: self._new(ino, LINK, target)})

    async def link(self, path: str, new: str) -> None:
        """Give a file one more name."""
        async with self._names:
            if path in self.tree and self._can_make(new):
                await self._plane.link(path, new)
                self._operated({new: self.tree[path]})

    async def unlink(self, path: str, *, keep_open: bool = False) -> None:
        """Remove a name; a file without any is closed, unless it is to be kept open."""
        async with self._names:
            if path not in self.tree:
                return
            ino = self.tree[path].ino
            await self._plane.unlink(path)
            self._operated({path: None})
        if self._path_of(ino) is None and not keep_open:
            await self.close(ino)

    async def rmdir(self, path: str) -> None:
        """Remove a directory, if it is empty."""
        async with self._names:
            if path in self.tree and not any(p.startswith(path + "/") for p in self.tree):
                await self._plane.rmdir(path)
                self._operated({path: None})

    async def rename(self, old: str, new: str) -> None:
        """Move a name, and all below it, to where nothing is."""
        async with self._names:
            if old in self.tree and self._can_make(new) and not new.startswith(old + "/"):
                await self._plane.rename(old, new)
                moved = [p for p in self.tree if p == old or p.startswith(old + "/")]
                changed: dict[str, Node | None] = dict.fromkeys(moved)
                changed |= {new + p[len(old) :]: self.tree[p] for p in moved}
                self._operated(changed)

    async def replace(self, old: str, new: str) -> None:
        """Rename a file over another: whoever sees it under that name sees its data."""
        if old not in self.tree:
            return
        ino = self.tree[old].ino
        async with self._lock(ino), self._names:
            if old not in self.tree or new not in self.tree or self.tree[old].ino != ino:
                return
            if self.tree[new].ino != ino:
                await self._plane.rename(old, new)
                operation = self._operated({old: None, new: self.tree[old]})
                self.oracle.bind(operation, ino, self.oracle.files[ino].now)

    async def exchange(self, one: str, other: str) -> None:
        """Swap two names of files."""
        async with self._names:
            if one not in self.tree or other not in self.tree:
                return
            # The kernel answers by itself where both are the same file.
            if self.tree[one].ino != self.tree[other].ino:
                await self._plane.rename(one, other, exchange=True)
                self._operated({one: self.tree[other], other: self.tree[one]})

    async def chmod(self, path: str, mode: int) -> None:
        """Set a file's permissions."""
        async with self._names:
            if path in self.tree:
                await self._plane.chmod(path, mode)
                self._operated(self._changed(path, mode=stat.S_IFREG | mode))

    async def set_xattr(self, path: str, name: bytes, value: bytes | None) -> None:
        """Set an extended attribute; None removes it."""
        async with self._names:
            if path not in self.tree:
                return
            known = dict(self.tree[path].xattrs)
            if value is not None:
                known[name] = value
                await self._plane.set_xattr(path, name, value)
            elif known.pop(name, None) is not None:
                await self._plane.remove_xattr(path, name)
            self._operated(self._changed(path, xattrs=tuple(sorted(known.items()))))

    # -- bytes

    async def write(
        self, path: str, where: Callable[[int], tuple[int, int]], *, dsync: bool = False
    ) -> None:
        """Write ``where(size)``, position and length in bytes; with *dsync* that is a promise."""
        if path not in self.tree:
            return
        ino = self.tree[path].ino
        async with self._lock(ino):
            handle = await self._handle(ino)
            history = self.oracle.files[ino]
            pos, length = where(len(history.data))
            if handle is None or length <= 0:
                return
            start = pos // tagged.BLOCK * tagged.BLOCK
            data = tagged.content(ino, pos + length - start, start, history.now + 1)[pos - start :]
            done = await self._plane.write(handle, pos, data, dsync=dsync)
            history.write(pos, data[:done])
            if dsync:
                self._promise(Promise(0, {ino: history.now}))

    async def truncate(self, path: str, size: Callable[[int], int]) -> None:
        """Set the size to ``size(size)`` bytes."""
        if path not in self.tree:
            return
        ino = self.tree[path].ino
        async with self._lock(ino), self._names:
            now = self._path_of(ino)
            if now is not None:
                history = self.oracle.files[ino]
                wanted = size(len(history.data))
                await self._plane.truncate(now, wanted)
                history.truncate(wanted, self.oracle.operated(self.tree))

    async def migrate(self, path: str, **layout) -> None:
        """Move a file's bytes elsewhere: nobody sees that, and no promise is less for it."""
        if path not in self.tree:
            return
        # Stays open, so that it stays there; others write meanwhile.
        async with self._lock(self.tree[path].ino), self._names:
            if path in self.tree:
                await self._handle(self.tree[path].ino)
                await self._plane.migrate(path, **layout)

    async def close(self, ino: int) -> None:
        """Close a file, if it is open."""
        async with self._lock(ino):
            if ino in self.handles:
                await self._plane.close(self.handles.pop(ino))

    # -- promises

    def _promise(self, promise: Promise) -> None:
        self._mark(self.oracle.promise(promise))

    async def fsyncdir(self, path: str = "") -> None:
        """Fsync a directory: all operations before it are promised."""
        operation = self.oracle.operation
        await self._plane.fsyncdir(path if path in self.tree else "")
        self._promise(Promise(operation))

    async def sync(self, path: str, *, data_only: bool = False) -> None:
        """Fsync or fdatasync a file; without its lock: others write meanwhile."""
        if path not in self.tree:
            return
        ino = self.tree[path].ino
        handle = self.handles.get(ino)
        if handle is None:
            async with self._lock(ino):
                handle = await self._handle(ino)
        if handle is not None:
            operation, event = self.oracle.operation, self.oracle.files[ino].now
            await self._plane.fsync(handle, data_only=data_only)
            self._promise(Promise(0 if data_only else operation, {ino: event}))
