# SPDX-License-Identifier: MIT
"""Inodes, directory entries, symlinks and extended attributes: one statement per method.

Methods that write must run inside `Database.transaction`; the caller composes
an operation from them, so that it is one transaction.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

from iomapd.meta.findings import shown_name
from iomapd.meta.records import DirentRecord, InodeRecord, XattrRecord
from iomapd.meta.rows import (
    DIRENT,
    ID_MAX,
    INODE,
    SYMLINK,
    XATTR,
    Column,
    Rows,
    fault_of,
    require,
    sound,
)
from iomapd.meta.schema import ROOT_INO

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator

_COLUMNS = "ino,mode,uid,gid,nlink,rdev,size,atime_ns,mtime_ns,ctime_ns,btime_ns,layout"
# dataclasses.astuple() copies deeply; this is five times as fast.
_VALUES = attrgetter(*_COLUMNS.split(",")[1:])
_JOINED = ",".join(f"inode.{c}" for c in _COLUMNS.split(","))
DEPTH_MAX = 4096  # deeper than any path can be: a ring

_INO = (Column("ino", 1, ID_MAX),)
_BY_INO = (DIRENT[3], *DIRENT[:3])


class Names:
    """The name space of a volume; *connection* belongs to the `Database`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._rows = Rows(connection)
        self._execute = connection.execute

    # -- inodes

    def insert_inode(self, record: InodeRecord) -> int:
        """Insert *record*, ignoring its ``ino``; return the new, never used ino."""
        cursor = self._execute(
            f"INSERT INTO inode ({_COLUMNS[4:]}) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
            _VALUES(record),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def inode(self, ino: int) -> InodeRecord | None:
        """Return the inode's record, or None."""
        return _inode(self._rows.one(f"SELECT {_COLUMNS} FROM inode WHERE ino=?", (ino,)))

    def update_inode(self, record: InodeRecord) -> None:
        """Write every attribute of *record*."""
        self._execute(
            "UPDATE inode SET mode=?,uid=?,gid=?,nlink=?,rdev=?,size=?,atime_ns=?,mtime_ns=?,"
            "ctime_ns=?,btime_ns=?,layout=? WHERE ino=?",
            (*_VALUES(record), record.ino),
        )

    def delete_inode(self, ino: int) -> None:
        """Delete the inode with its symlink target and extended attributes."""
        for table in ("inode", "symlink", "xattr"):
            self._execute(f"DELETE FROM {table} WHERE ino=?", (ino,))

    def orphans(self) -> list[int]:
        """Return the inodes that no name leads to."""
        return [r[0] for r in self._rows.all("SELECT ino FROM inode WHERE nlink=0")]

    def iter_inodes(self, told: Callable[[int, str], None] | None = None) -> Iterator[InodeRecord]:
        """Iterate over all inodes in ino order; *told* of broken rows, see `rows.sound`."""
        rows = self._rows.each(f"SELECT {_COLUMNS} FROM inode ORDER BY ino")
        for row in sound(INODE, rows, "inode", told):
            yield InodeRecord(*row)

    def count_inodes(self) -> int:
        """Return the number of inodes."""
        return int(self._rows.one("SELECT count(*) FROM inode")[0])

    # -- directory entries

    def find(self, parent: int, name: bytes) -> int | None:
        """Return the ino that *name* in *parent* leads to, or None."""
        return _ino(
            self._rows.one("SELECT ino FROM dirent WHERE parent=? AND name=?", (parent, name))
        )

    def lookup(self, parent: int, name: bytes) -> InodeRecord | None:
        """Return the inode that *name* in *parent* leads to, or None."""
        return _inode(
            self._rows.one(
                f"SELECT {_JOINED} FROM dirent JOIN inode ON inode.ino=dirent.ino "
                "WHERE parent=? AND name=?",
                (parent, name),
            )
        )

    def link(self, parent: int, name: bytes, ino: int) -> None:
        """Add a name; the caller has checked that it is free."""
        self._execute("INSERT INTO dirent (parent,name,ino) VALUES (?,?,?)", (parent, name, ino))

    def unlink(self, parent: int, name: bytes) -> None:
        """Remove a name."""
        self._execute("DELETE FROM dirent WHERE parent=? AND name=?", (parent, name))

    def is_empty(self, parent: int) -> bool:
        """Tell whether directory *parent* has no names."""
        return not self._rows.one("SELECT 1 FROM dirent WHERE parent=? LIMIT 1", (parent,))

    def list_directory(
        self, parent: int, after: int, limit: int
    ) -> list[tuple[int, bytes, InodeRecord]]:
        """Return up to *limit* ``(cookie, name, inode)`` with cookie > *after*, in order."""
        found = self._rows.all(
            f"SELECT cookie,parent,name,{_JOINED} FROM dirent JOIN inode ON inode.ino=dirent.ino "
            "WHERE parent=? AND cookie>? ORDER BY cookie LIMIT ?",
            (parent, after, limit),
        )
        for row in found:
            require(DIRENT, row[:4], f"a name in directory {parent}")
        return [(row[0], row[2], InodeRecord(*_good(row[3:]))) for row in found]

    def parent_of(self, ino: int) -> int | None:
        """Return a directory that holds a name of *ino* (the one, for directories)."""
        return _ino(self._rows.one("SELECT parent FROM dirent WHERE ino=? LIMIT 1", (ino,)))

    def path(self, ino: int) -> str:
        """Return a path that leads to *ino*, for messages; ``inode 7`` when none is found."""
        parts: list[str] = []
        at = ino
        while at != ROOT_INO:
            row = self._rows.one("SELECT parent,name FROM dirent WHERE ino=? LIMIT 1", (at,))
            good = row is not None and not fault_of(DIRENT[1:3], row)
            if not good or len(parts) > DEPTH_MAX:
                return f"inode {ino}"
            at = row[0]
            parts.append(shown_name(row[1]))
        return "/" + "/".join(reversed(parts))

    def iter_dirents(
        self, told: Callable[[int, str], None] | None = None
    ) -> Iterator[DirentRecord]:
        """Iterate over all directory entries; *told* of broken rows, by the ino they lead to."""
        rows = self._rows.each("SELECT ino,cookie,parent,name FROM dirent")
        for ino, cookie, parent, name in sound(_BY_INO, rows, "name of inode", told):
            yield DirentRecord(cookie, parent, name, ino)

    # -- symlinks

    def set_target(self, ino: int, target: bytes) -> None:
        """Store a symlink's target."""
        self._execute("INSERT INTO symlink (ino,target) VALUES (?,?)", (ino, target))

    def target(self, ino: int) -> bytes | None:
        """Return a symlink's target, or None."""
        row = self._rows.one("SELECT ino,target FROM symlink WHERE ino=?", (ino,))
        if row is None:
            return None
        require(SYMLINK, row, f"symbolic link {ino}")
        target: bytes = row[1]
        return target

    def iter_targets(
        self, told: Callable[[int, str], None] | None = None
    ) -> Iterator[tuple[int, bytes]]:
        """Iterate over ``(ino, target)`` of all symlinks; *told* of broken rows."""
        rows = self._rows.each("SELECT ino,target FROM symlink ORDER BY ino")
        yield from sound(SYMLINK, rows, "symbolic link", told)

    # -- extended attributes

    def xattr(self, ino: int, name: bytes) -> bytes | None:
        """Return the value of an extended attribute, or None."""
        row = self._rows.one("SELECT * FROM xattr WHERE ino=? AND name=?", (ino, name))
        if row is None:
            return None
        require(XATTR, row, f"extended attribute of inode {ino}")
        value: bytes = row[2]
        return value

    def xattr_names(self, ino: int) -> list[bytes]:
        """Return the names of the inode's extended attributes, in byte order."""
        found = self._rows.all("SELECT name FROM xattr WHERE ino=? ORDER BY name", (ino,))
        for row in found:
            require(XATTR[1:2], row, f"extended attribute of inode {ino}")
        return [row[0] for row in found]

    def set_xattr(self, ino: int, name: bytes, value: bytes) -> None:
        """Set or replace an extended attribute."""
        self._execute(
            "INSERT OR REPLACE INTO xattr (ino,name,value) VALUES (?,?,?)", (ino, name, value)
        )

    def remove_xattr(self, ino: int, name: bytes) -> bool:
        """Remove an extended attribute; tell whether it was there."""
        return self._execute("DELETE FROM xattr WHERE ino=? AND name=?", (ino, name)).rowcount > 0

    def iter_xattrs(self, told: Callable[[int, str], None] | None = None) -> Iterator[XattrRecord]:
        """Iterate over all extended attributes; *told* of broken rows."""
        rows = self._rows.each("SELECT ino,name,value FROM xattr")
        for row in sound(XATTR, rows, "extended attribute of inode", told):
            yield XattrRecord(*row)


def _good(row: tuple[Any, ...]) -> tuple[Any, ...]:
    require(INODE, row, f"inode {row[0]}")
    return row


def _inode(row: tuple[Any, ...] | None) -> InodeRecord | None:
    return InodeRecord(*_good(row)) if row else None


def _ino(row: tuple[Any, ...] | None) -> int | None:
    if row is None:
        return None
    require(_INO, row, "a name")
    number: int = row[0]
    return number
