# SPDX-License-Identifier: MIT
"""Names: look up, make, link, remove, rename, list.

Every method is one operation, one transaction, without a checkpoint; names live
in the store only, attributes of inodes in use in the table.  Permissions are the
kernel's business (``default_permissions``); existence, emptiness and link counts
are ours.  Errors are `OSError` with the errno POSIX wants.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

from iomapd.abi.units import NAME_MAX
from iomapd.cache.inode import Inode
from iomapd.control.core import now_ns
from iomapd.meta.records import InodeRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iomapd.control.core import Core, Operation

Attributes = Inode | InodeRecord
"""Both carry the same attribute names; an `Inode` is the newer truth."""

LINK_MAX = 65_000  # as ext4; a directory's subdirectories count


class Namespace:
    """The tree of a mount, and the kernel's references into it."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._names = core.store.names
        self._lookups: dict[int, int] = {}
        # Unlinked while the kernel knows them; the table may have evicted them.
        self._orphans: set[int] = set()
        # Made without a name, and never had one.
        self._linkable: set[int] = set()

    # -- the kernel's references

    def remember(self, ino: int) -> None:
        """Count one reference that a reply hands to the kernel."""
        self._lookups[ino] = self._lookups.get(ino, 0) + 1

    def forget(self, ino: int, count: int) -> Inode | None:
        """Take back *count* references; return the inode if it is now to be deleted."""
        left = self._lookups.get(ino, 0) - count
        if left > 0:
            self._lookups[ino] = left
            return None
        self._lookups.pop(ino, None)
        if ino not in self._orphans:
            return None
        self._orphans.discard(ino)
        self._linkable.discard(ino)
        return self._core.table.get(ino)

    def is_known(self, ino: int) -> bool:
        """Tell whether the kernel holds references to *ino*."""
        return ino in self._lookups

    # -- looking

    def lookup(self, parent: int, name: bytes) -> Attributes | None:
        """Return what *name* in *parent* leads to, or None."""
        if name == b"..":
            return self._core.inode(self._names.parent_of(parent) or parent)
        if name == b".":
            return self._core.inode(parent)
        if len(name) > NAME_MAX:
            raise OSError(errno.ENAMETOOLONG, f"name of {len(name)} bytes; at most {NAME_MAX}")
        record = self._names.lookup(parent, name)
        return None if record is None else self._core.table.peek(record.ino) or record

    def list(self, ino: int, after: int) -> Iterator[tuple[int, bytes, Attributes]]:
        """Yield ``(cookie, name, attributes)`` of names with a cookie > *after*, in order."""
        table = self._core.table
        # A READDIRPLUS reply of 4 KiB holds some two dozen names.
        limit = 32
        while True:
            batch = self._names.list_directory(ino, after, limit)
            for cookie, name, record in batch:
                yield cookie, name, table.peek(record.ino) or record
            if len(batch) < limit:
                return
            after, limit = batch[-1][0], 256

    def readlink(self, ino: int) -> bytes:
        """Return a symlink's target."""
        target = self._names.target(ino)
        if target is None:
            raise OSError(errno.EINVAL, f"inode {ino} is no symbolic link")
        return target

    # -- making

    def make(
        self,
        parent_ino: int,
        name: bytes,
        mode: int,
        owner: tuple[int, int],
        *,
        rdev: int = 0,
        target: bytes | None = None,
    ) -> Inode:
        """Make a file, directory, symlink or special file called *name*.

        Args:
            parent_ino: the directory; a setgid directory passes its group on.
            name: 1 to `NAME_MAX` bytes.
            mode: type and permissions; the kernel has applied the umask.
            owner: uid and gid of the caller.
            rdev: device number of a device file.
            target: a symlink's target, 1 to 4095 bytes.
        """
        core, parent = self._core, self._directory(parent_ino)
        self._check_free(parent, name)
        is_dir = stat.S_ISDIR(mode)
        if is_dir and parent.nlink >= LINK_MAX:
            raise OSError(errno.EMLINK, f"directory {parent_ino} has {parent.nlink} links")
        record = _new_record(parent, mode, owner, 2 if is_dir else 1, rdev, len(target or b""))
        with core.operation() as op:
            ino = self._names.insert_inode(record)
            if target is not None:
                self._names.set_target(ino, target)
            self._names.link(parent.ino, name, ino)
            now = record.ctime_ns
            op.change(parent, nlink=parent.nlink + is_dir, mtime_ns=now, ctime_ns=now)
        core.unflushed.add(ino)
        return core.table.add(replace(record, ino=ino))

    def make_nameless(
        self, parent_ino: int, mode: int, owner: tuple[int, int], *, linkable: bool
    ) -> Inode:
        """Make a file that no name leads to (O_TMPFILE), as if it had just been unlinked.

        Args:
            parent_ino: the directory whose group and layout it gets.
            mode: as for `make`.
            owner: uid and gid of the caller.
            linkable: `link` may give it a name.
        """
        record = _new_record(self._directory(parent_ino), mode, owner, nlink=0)
        with self._core.operation():
            ino = self._names.insert_inode(record)
        self._orphans.add(ino)
        if linkable:
            self._linkable.add(ino)
        return self._core.table.add(replace(record, ino=ino))

    def link(self, ino: int, parent_ino: int, name: bytes) -> Inode:
        """Give *ino* one more name."""
        inode, parent = self._core.inode(ino), self._directory(parent_ino)
        self._check_free(parent, name)
        if inode.nlink >= LINK_MAX:
            raise OSError(errno.EMLINK, f"inode {ino} has {inode.nlink} links")
        if inode.nlink == 0 and ino not in self._linkable:
            raise OSError(errno.ENOENT, f"inode {ino} has been removed")
        now = now_ns()
        with self._core.operation() as op:
            self._names.link(parent.ino, name, ino)
            op.change(parent, mtime_ns=now, ctime_ns=now)
            op.change(inode, nlink=inode.nlink + 1, ctime_ns=now)
        self._linkable.discard(ino)
        self._orphans.discard(ino)
        return inode

    # -- removing

    def unlink(self, parent_ino: int, name: bytes) -> Inode:
        """Remove a name that is no directory's; return the inode it led to."""
        parent, inode = self._directory(parent_ino), self._target(parent_ino, name)
        if stat.S_ISDIR(inode.mode):
            raise OSError(errno.EISDIR, "is a directory")
        with self._core.operation() as op:
            self._names.unlink(parent.ino, name)
            self._stamp(op, parent)
            op.change(inode, nlink=inode.nlink - 1, ctime_ns=now_ns())
        self._note_orphan(inode)
        return inode

    def rmdir(self, parent_ino: int, name: bytes) -> Inode:
        """Remove an empty directory; return its inode."""
        parent, inode = self._directory(parent_ino), self._target(parent_ino, name)
        if not stat.S_ISDIR(inode.mode):
            raise OSError(errno.ENOTDIR, "is not a directory")
        self._check_empty(inode)
        with self._core.operation() as op:
            self._names.unlink(parent.ino, name)
            self._stamp(op, parent, links=-1)
            op.change(inode, nlink=0, ctime_ns=now_ns())
        self._note_orphan(inode)
        return inode

    # -- renaming

    def rename(
        self, old: tuple[int, bytes], new: tuple[int, bytes], *, noreplace: bool = False
    ) -> Inode | None:
        """Move the name *old* to *new*, each ``(parent ino, name)``.

        Returns:
            The inode that *new* led to before and that lost this name, if any.
        """
        source_dir, target_dir = self._directory(old[0]), self._directory(new[0])
        inode = self._target(*old)
        replaced_ino = self._names.find(*new)
        if replaced_ino is not None and noreplace:
            raise OSError(errno.EEXIST, "the new name exists")
        if replaced_ino == inode.ino:
            return None  # rename(2): both names lead to the same file, do nothing
        replaced = None if replaced_ino is None else self._core.inode(replaced_ino)
        is_dir = stat.S_ISDIR(inode.mode)
        if replaced is not None:
            self._check_replaceable(replaced, is_dir=is_dir)
        now = now_ns()
        with self._core.operation() as op:
            if replaced is not None:
                self._names.unlink(*new)
                gone = stat.S_ISDIR(replaced.mode)
                op.change(replaced, nlink=0 if gone else replaced.nlink - 1, ctime_ns=now)
            self._names.unlink(*old)
            self._names.link(*new, inode.ino)
            self._stamp(op, source_dir, links=-is_dir)
            self._stamp(op, target_dir, links=is_dir - (is_dir and replaced is not None))
            op.change(inode, ctime_ns=now)
        if replaced is not None:
            self._note_orphan(replaced)
        return replaced

    def exchange(self, one: tuple[int, bytes], other: tuple[int, bytes]) -> None:
        """Swap what two names lead to (RENAME_EXCHANGE)."""
        first_dir, second_dir = self._directory(one[0]), self._directory(other[0])
        first, second = self._target(*one), self._target(*other)
        moved = stat.S_ISDIR(second.mode) - stat.S_ISDIR(first.mode)
        now = now_ns()
        with self._core.operation() as op:
            self._names.unlink(*one)
            self._names.unlink(*other)
            self._names.link(*one, second.ino)
            self._names.link(*other, first.ino)
            self._stamp(op, first_dir, links=moved)
            self._stamp(op, second_dir, links=-moved)
            op.change(first, ctime_ns=now)
            op.change(second, ctime_ns=now)

    # -- paths, for the admin socket

    def resolve(self, path: bytes) -> int:
        """Return the ino that *path*, relative to the root of the mount, leads to.

        Symbolic links are not followed.
        """
        ino = 1
        for part in path.split(b"/"):
            if part in (b"", b"."):
                continue
            found = self._names.find(ino, part)
            if found is None:
                raise OSError(errno.ENOENT, f"{os.fsdecode(path)}: no such file")
            ino = found
        return ino

    # -- rules

    def _note_orphan(self, inode: Inode) -> None:
        if inode.nlink == 0 and self.is_known(inode.ino):
            self._orphans.add(inode.ino)

    def _directory(self, ino: int) -> Inode:
        inode = self._core.inode(ino)
        if not stat.S_ISDIR(inode.mode):
            raise OSError(errno.ENOTDIR, f"inode {ino} is not a directory")
        if inode.nlink == 0:
            raise OSError(errno.ENOENT, f"directory {ino} has been removed")
        return inode

    def _target(self, parent: int, name: bytes) -> Inode:
        ino = self._names.find(parent, name)
        if ino is None:
            raise OSError(errno.ENOENT, "no such name")
        return self._core.inode(ino)

    def _check_free(self, parent: Inode, name: bytes) -> None:
        if len(name) > NAME_MAX:
            raise OSError(errno.ENAMETOOLONG, f"name of {len(name)} bytes; at most {NAME_MAX}")
        if self._names.find(parent.ino, name) is not None:
            raise OSError(errno.EEXIST, "the name exists")

    def _check_empty(self, directory: Inode) -> None:
        if not self._names.is_empty(directory.ino):
            raise OSError(errno.ENOTEMPTY, f"directory {directory.ino} is not empty")

    def _check_replaceable(self, replaced: Inode, *, is_dir: bool) -> None:
        if stat.S_ISDIR(replaced.mode):
            if not is_dir:
                raise OSError(errno.EISDIR, "the new name is a directory")
            self._check_empty(replaced)
        elif is_dir:
            raise OSError(errno.ENOTDIR, "the new name is not a directory")

    def _stamp(self, op: Operation, directory: Inode, links: int = 0) -> None:
        """Change a directory's times and, relative to earlier changes of *op*, its links."""
        now = now_ns()
        nlink = next((f.get("nlink") for i, f in op.changes if i is directory), None)
        nlink = directory.nlink if nlink is None else nlink
        op.change(directory, nlink=nlink + links, mtime_ns=now, ctime_ns=now)


def _new_record(
    parent: Inode, mode: int, owner: tuple[int, int], nlink: int, rdev: int = 0, size: int = 0
) -> InodeRecord:
    """Return the record of what is about to be made in *parent*."""
    uid, gid = owner
    if parent.mode & stat.S_ISGID:
        gid = parent.gid
        if stat.S_ISDIR(mode):
            mode |= stat.S_ISGID
    now = now_ns()
    return InodeRecord(0, mode, uid, gid, nlink, rdev, size, now, now, now, now, parent.layout)
