# SPDX-License-Identifier: MIT
"""The metadata store: one narrow interface, so that a second engine can follow.

    Store.names    inodes, directory entries, symlinks, extended attributes
    Store.space    extents and content
    Store.transaction()   one operation, committed without fsync
    Store.sync()          everything committed so far is durable (blocks)

Generations.  Each read-write mount moves the volume from generation g to g + 1
in three durable steps: ``begin_generation`` (pending = g + 1), then the members'
superblocks, then ``settle_generation`` (generation = g + 1).  A member that
carries neither number is stale, or the store is: the copy of a store made before
the last mount has ``pending = g`` and is refused by its members.
"""

from __future__ import annotations

import os
import sqlite3
import struct
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from iomapd.errors import StoreError
from iomapd.meta.database import Database, fsync_directory, store_error
from iomapd.meta.names import Names
from iomapd.meta.records import LayoutRecord, MemberRecord, ProgramRecord, VolumeRecord
from iomapd.meta.rows import LAYOUT, MEMBER, PROGRAM, VOLUME, Rows, require, sound
from iomapd.meta.schema import APPLICATION_ID, ROOT_INO, SCHEMA_VERSION, TABLES
from iomapd.meta.space import Space

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from iomapd.mapping.extent import Extent
    from iomapd.meta.records import DirentRecord, InodeRecord

T = TypeVar("T")

_PARAMS = struct.Struct("<8q")
_ROOT_MODE = 0o040755


def create_store(
    path: Path,
    volume: VolumeRecord,
    members: Sequence[MemberRecord],
    program: ProgramRecord,
    layout: LayoutRecord,
    owner: tuple[int, int],
) -> None:
    """Make a store with an empty root directory owned by *owner* (uid, gid).

    Written to ``PATH.tmp``, made durable, then renamed: an interrupted create
    leaves no half store.

    Raises:
        StoreError: *path* exists, or cannot be written.
    """
    if path.exists():
        raise StoreError(f"{path}: a metadata store is there already; remove it or use --force")
    temporary = path.with_name(path.name + ".tmp")
    for suffix in ("", "-wal", "-shm", "-journal"):
        temporary.with_name(temporary.name + suffix).unlink(missing_ok=True)
    # All names of the volume are in it: for its owner only, like the images.  The
    # -wal and -shm files get the same mode from SQLite.
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    try:
        with closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous=FULL")
            _fill(connection, volume, members, program, layout, owner)
            # Recorded in the file: whoever opens it next is in WAL mode.
            connection.execute("PRAGMA journal_mode=WAL").fetchone()
    except sqlite3.Error as exc:
        raise store_error(path, exc) from exc
    fd = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    temporary.rename(path)
    fsync_directory(path.parent)


def _fill(
    connection: sqlite3.Connection,
    volume: VolumeRecord,
    members: Sequence[MemberRecord],
    program: ProgramRecord,
    layout: LayoutRecord,
    owner: tuple[int, int],
) -> None:
    connection.executescript(
        f"PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={SCHEMA_VERSION};"
        f"BEGIN; {TABLES}"
    )
    for m in members:
        connection.execute(
            "INSERT INTO member VALUES (?,?,?,?,?,?,?)",
            (m.id, m.index, m.uuid.bytes, m.path, m.data_offset, m.data_size, m.logical_sector),
        )
    _insert_program(connection, program)
    _insert_layout(connection, layout)
    connection.execute(
        "INSERT INTO volume VALUES (1,?,?,?,?,1,1,?)",
        (volume.uuid.bytes, volume.name, volume.created_ns, volume.block_size, layout.id),
    )
    now = volume.created_ns
    connection.execute(
        "INSERT INTO inode VALUES (?,?,?,?,2,0,0,?,?,?,?,?)",
        (ROOT_INO, _ROOT_MODE, *owner, now, now, now, now, layout.id),
    )
    connection.execute("COMMIT")


def _insert_program(connection: sqlite3.Connection, p: ProgramRecord) -> int:
    cursor = connection.execute(
        "INSERT INTO program VALUES (?,?,?,?,?)", (p.id or None, p.name, p.abi, p.sha256, p.source)
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _insert_layout(connection: sqlite3.Connection, row: LayoutRecord) -> int:
    cursor = connection.execute(
        "INSERT INTO layout VALUES (?,?,?,?,?,?,?,?,?)",
        (
            row.id or None,
            row.unit,
            row.width,
            row.strip_min,
            row.strip_max,
            row.program,
            _PARAMS.pack(*row.params),
            row.copies,
            row.flags,
        ),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _layout(*row: Any) -> LayoutRecord:
    number, unit, width, low, high, program, params, copies, flags = row
    numbers = _PARAMS.unpack(params)
    return LayoutRecord(number, unit, width, low, high, program, numbers, copies, flags)


class Catalogue(dict[int, T]):
    """Rows by id; asking for one that is not there is a fault of the store.

    Raises:
        StoreError: naming the row.
    """

    def __init__(self, what: str, rows: dict[int, T]) -> None:
        super().__init__(rows)
        self._what = what

    def __missing__(self, number: int) -> T:
        raise StoreError(f"{self._what} {number} is not there; iomapd fsck says who names it")


class Store:
    """An open metadata store; see the module for its parts."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.path = database.path
        self.read_only = database.read_only
        self.names = Names(database.connection)
        self.space = Space(database.connection)
        self.rows = Rows(database.connection)
        try:
            self._load_header()
        except StoreError as exc:
            database.close()
            raise StoreError(f"{self.path}: the store's header is unreadable: {exc}") from None

    @classmethod
    def open(cls, path: Path, read_only: bool = False, wait: float = 0.0) -> Store:
        """Open the store at *path*; waits up to *wait* seconds for another holder.

        Raises:
            StoreMissingError, StoreBusyError, StoreError: in words.
        """
        return cls(Database(path, read_only=read_only, wait=wait))

    def _load_header(self) -> None:
        found = self.rows.all(
            "SELECT uuid,name,created_ns,block_size,generation,pending,root_layout FROM volume"
        )
        if len(found) != 1:
            raise StoreError(f"{len(found)} rows of table volume; there is one")
        require(VOLUME, found[0], "volume row")
        uuid, name, created, block, *numbers = found[0]
        self.generation: int = numbers[0]
        self.pending: int = numbers[1]
        self.root_layout: int = numbers[2]
        self.volume = VolumeRecord(UUID(bytes=uuid), name, created, block)
        columns = ",".join(column.name for column in MEMBER)
        self.members = [
            MemberRecord(row[0], row[1], UUID(bytes=row[2]), *row[3:])
            for row in sound(
                MEMBER,
                self.rows.each(f"SELECT {columns} FROM member ORDER BY place"),
                "member",
                None,
            )
        ]

    # -- layouts and programs

    def layouts(self, told: Callable[[int, str], None] | None = None) -> dict[int, LayoutRecord]:
        """Return all layout rows by id; *told* of broken ones, see `rows.sound`."""
        columns = ",".join(column.name for column in LAYOUT)
        found = self.rows.each(f"SELECT {columns} FROM layout ORDER BY id")
        rows = {row[0]: _layout(*row) for row in sound(LAYOUT, found, "layout", told)}
        return Catalogue("layout", rows)

    def programs(self, told: Callable[[int, str], None] | None = None) -> dict[int, ProgramRecord]:
        """Return all program rows by id; *told* of broken ones, see `rows.sound`."""
        columns = ",".join(column.name for column in PROGRAM)
        found = self.rows.each(f"SELECT {columns} FROM program ORDER BY id")
        rows = {row[0]: ProgramRecord(*row) for row in sound(PROGRAM, found, "program", told)}
        return Catalogue("program", rows)

    def live_layouts(self) -> list[int]:
        """Return the ids of layouts that an extent or an inode names."""
        found = self.rows.all("SELECT layout FROM extent UNION SELECT layout FROM inode ORDER BY 1")
        return [row[0] for row in found if isinstance(row[0], int)]

    def add_program(self, wanted: ProgramRecord) -> int:
        """Insert a program (its id is ignored if 0); return its id; in the caller's transaction."""
        return _insert_program(self._database.connection, wanted)

    def layout_id(self, wanted: LayoutRecord) -> int:
        """Return the id of the layout row equal to *wanted* (but for its id), made if new.

        Runs inside a transaction of the caller.
        """
        known = self._equal_layout(wanted)
        return _insert_layout(self._database.connection, wanted) if known is None else known

    def replace_layout(self, wanted: LayoutRecord) -> int:
        """Give the layout row of this id the program and parameters of *wanted*.

        If there is such a row already, what names the old one is led there instead.  Runs
        inside a transaction of the caller; who keeps `root_layout` follows it.

        Returns:
            The id of the row that counts from now on.
        """
        execute = self._database.connection.execute
        known = self._equal_layout(wanted)
        if known is None:
            values = (wanted.program, _PARAMS.pack(*wanted.params), wanted.id)
            execute("UPDATE layout SET program=?,params=? WHERE id=?", values)
            return wanted.id
        for table, column in (("extent", "layout"), ("inode", "layout"), ("volume", "root_layout")):
            execute(f"UPDATE {table} SET {column}=? WHERE {column}=?", (known, wanted.id))
        return known

    def _equal_layout(self, wanted: LayoutRecord) -> int | None:
        for known in self.layouts().values():
            if replace(known, id=wanted.id) == wanted:
                return known.id
        return None

    # -- generations

    def begin_generation(self) -> int:
        """Durably announce the next generation; return it."""
        if self.pending == self.generation:
            self._set_generation("pending", self.generation + 1)
            self.pending = self.generation + 1
        return self.pending

    def settle_generation(self) -> None:
        """Durably make the pending generation the volume's."""
        self._set_generation("generation", self.pending)
        self.generation = self.pending

    def _set_generation(self, column: str, value: int) -> None:
        with self.transaction() as connection:
            connection.execute(f"UPDATE volume SET {column}=?", (value,))
        self._database.sync_wal()

    # -- transactions and durability

    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """Run one operation as one transaction; see `Database.transaction`."""
        return self._database.transaction()

    def sync(self) -> None:
        """Make everything committed durable; blocks, any thread; raises OSError."""
        self._database.sync_wal()

    def wal_size(self) -> int:
        """Return the size of the write-ahead log, bytes."""
        return self._database.wal_size()

    def checkpoint(self) -> None:
        """Move the log into the database, waiting for nobody; blocks, any thread."""
        self._database.checkpoint()

    def copy_to(self, path: Path) -> None:
        """Write a consistent copy of what is committed; blocks, any thread."""
        self._database.copy_to(path)

    def close(self) -> None:
        """Close; the last connection moves the log into the database file."""
        self._database.close()

    # -- whole-store scans, for info; `scan` reads a store that may be broken

    def iter_inodes(self) -> Iterator[InodeRecord]:
        """Iterate over all inodes."""
        return self.names.iter_inodes()

    def iter_dirents(self) -> Iterator[DirentRecord]:
        """Iterate over all directory entries."""
        return self.names.iter_dirents()

    def iter_extents(self) -> Iterator[Extent]:
        """Iterate over all extents."""
        return self.space.iter_extents()
