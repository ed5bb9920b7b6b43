# SPDX-License-Identifier: MIT
"""Inodes, directory entries, symlinks and extended attributes: one statement per method.

Methods that write must run inside `Database.transaction`; the caller composes
an operation from them, so that it is one transaction.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from iomapd.meta.records import DirentRecord, InodeRecord, XattrRecord

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

_COLUMNS = "ino,mode,uid,gid,nlink,rdev,size,atime_ns,mtime_ns,ctime_ns,btime_ns,layout"
# dataclasses.astuple() copies deeply; this is five times as fast.
_VALUES = attrgetter(*_COLUMNS.split(",")[1:])
_JOINED = ",".join(f"inode.{c}" for c in _COLUMNS.split(","))


class Names:
    """The name space of a volume; *connection* belongs to the `Database`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
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
        row = self._execute(f"SELECT {_COLUMNS} FROM inode WHERE ino=?", (ino,)).fetchone()
        return InodeRecord(*row) if row else None

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
        return [r[0] for r in self._execute("SELECT ino FROM inode WHERE nlink=0")]

    def iter_inodes(self) -> Iterator[InodeRecord]:
        """Iterate over all inodes in ino order."""
        for row in self._execute(f"SELECT {_COLUMNS} FROM inode ORDER BY ino"):
            yield InodeRecord(*row)

    def count_inodes(self) -> int:
        """Return the number of inodes."""
        return int(self._execute("SELECT count(*) FROM inode").fetchone()[0])

    # -- directory entries

    def find(self, parent: int, name: bytes) -> int | None:
        """Return the ino that *name* in *parent* leads to, or None."""
        row = self._execute(
            "SELECT ino FROM dirent WHERE parent=? AND name=?", (parent, name)
        ).fetchone()
        return row[0] if row else None

    def lookup(self, parent: int, name: bytes) -> InodeRecord | None:
        """Return the inode that *name* in *parent* leads to, or None."""
        row = self._execute(
            f"SELECT {_JOINED} FROM dirent JOIN inode ON inode.ino=dirent.ino "
            "WHERE parent=? AND name=?",
            (parent, name),
        ).fetchone()
        return InodeRecord(*row) if row else None

    def link(self, parent: int, name: bytes, ino: int) -> None:
        """Add a name; the caller has checked that it is free."""
        self._execute("INSERT INTO dirent (parent,name,ino) VALUES (?,?,?)", (parent, name, ino))

    def unlink(self, parent: int, name: bytes) -> None:
        """Remove a name."""
        self._execute("DELETE FROM dirent WHERE parent=? AND name=?", (parent, name))

    def is_empty(self, parent: int) -> bool:
        """Tell whether directory *parent* has no names."""
        return not self._execute(
            "SELECT 1 FROM dirent WHERE parent=? LIMIT 1", (parent,)
        ).fetchone()

    def list_directory(
        self, parent: int, after: int, limit: int
    ) -> list[tuple[int, bytes, InodeRecord]]:
        """Return up to *limit* ``(cookie, name, inode)`` with cookie > *after*, in order."""
        found = self._execute(
            f"SELECT cookie,name,{_JOINED} FROM dirent JOIN inode ON inode.ino=dirent.ino "
            "WHERE parent=? AND cookie>? ORDER BY cookie LIMIT ?",
            (parent, after, limit),
        )
        return [(row[0], row[1], InodeRecord(*row[2:])) for row in found]

    def parent_of(self, ino: int) -> int | None:
        """Return a directory that holds a name of *ino* (the one, for directories)."""
        row = self._execute("SELECT parent FROM dirent WHERE ino=? LIMIT 1", (ino,)).fetchone()
        return row[0] if row else None

    def iter_dirents(self) -> Iterator[DirentRecord]:
        """Iterate over all directory entries."""
        for row in self._execute("SELECT cookie,parent,name,ino FROM dirent"):
            yield DirentRecord(*row)

    # -- symlinks

    def set_target(self, ino: int, target: bytes) -> None:
        """Store a symlink's target."""
        self._execute("INSERT INTO symlink (ino,target) VALUES (?,?)", (ino, target))

    def target(self, ino: int) -> bytes | None:
        """Return a symlink's target, or None."""
        row = self._execute("SELECT target FROM symlink WHERE ino=?", (ino,)).fetchone()
        return row[0] if row else None

    # -- extended attributes

    def xattr(self, ino: int, name: bytes) -> bytes | None:
        """Return the value of an extended attribute, or None."""
        row = self._execute(
            "SELECT value FROM xattr WHERE ino=? AND name=?", (ino, name)
        ).fetchone()
        return row[0] if row else None

    def xattr_names(self, ino: int) -> list[bytes]:
        """Return the names of the inode's extended attributes, in byte order."""
        return [
            r[0] for r in self._execute("SELECT name FROM xattr WHERE ino=? ORDER BY name", (ino,))
        ]

    def set_xattr(self, ino: int, name: bytes, value: bytes) -> None:
        """Set or replace an extended attribute."""
        self._execute(
            "INSERT OR REPLACE INTO xattr (ino,name,value) VALUES (?,?,?)", (ino, name, value)
        )

    def remove_xattr(self, ino: int, name: bytes) -> bool:
        """Remove an extended attribute; tell whether it was there."""
        return self._execute("DELETE FROM xattr WHERE ino=? AND name=?", (ino, name)).rowcount > 0

    def iter_xattrs(self) -> Iterator[XattrRecord]:
        """Iterate over all extended attributes."""
        for row in self._execute("SELECT ino,name,value FROM xattr"):
            yield XattrRecord(*row)
