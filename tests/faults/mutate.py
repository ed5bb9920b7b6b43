# SPDX-License-Identifier: MIT
"""Damage for stores and superblocks: accidents, and lies that somebody made up.

    bytes    bits flipped, pages zeroed, doubled, exchanged, filled with noise; files cut
    rows     any column of any table set to a hostile value, rows doubled or deleted
    schema   tables and indexes dropped or renamed, triggers added, versions changed
    log      the same for the -wal file; it removed, or an old one put back

Every mutation is a function of a `random.Random`, so a seed names it, and returns in
words what it did.  Rules that SQLite itself would keep (NOT NULL, CHECK, UNIQUE) are
taken out of the file's schema first and put back after: a file obeys nobody.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

TABLE_NAMES = (
    "volume", "member", "program", "layout", "inode", "dirent", "symlink", "xattr", "extent",
    "content",
)  # fmt: skip

HOSTILE = (
    None, 0, -1, 1, 2, 99, 255, 4095, 4096, 4097, 65536, 2**31 - 1, 2**31, 2**32, 2**32 + 1,
    2**40, 2**52, 2**53 + 1, 2**62, 2**63 - 4096, 2**63 - 1, -(2**63), -4096,
    0.5, -1e300, float("inf"), "", "12", "text", "a\nb", "nul\0here", "\ud7ff\U0010ffff",
    "x" * 70000, b"", b"\0", b"/", b"..", b"bytes", b"\xff" * 16, bytes(16), bytes(64),
    b"y" * 70000, b"a/b",
)  # fmt: skip


def damage(directory: Path, store: str, random: Random) -> str:
    """Apply one mutation to the store in *directory*; return what was done."""
    kinds = (_bytes, _rows, _rows, _rows, _rows, _pairs, _schema, _log)
    return random.choice(kinds)(directory / store, random)


# -- bytes


def _bytes(path: Path, random: Random) -> str:
    # Half of the time the log is moved in first: else it would hide most of the damage.
    if random.random() < 0.7:
        settle(path)
    return damage_bytes(path, random, 4096)


def settle(path: Path) -> None:
    """Move the log into the database, as an orderly unmount does."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def damage_bytes(path: Path, random: Random, page: int) -> str:
    """Damage the bytes of any file, in units of *page* bytes."""
    data = bytearray(path.read_bytes())
    nr_pages = max(1, len(data) // page)
    here, there = (random.randrange(nr_pages) * page for _ in range(2))
    kind = random.choice(("flip", "flip", "flip", "zero", "double", "exchange", "noise", "cut"))
    if kind == "flip":
        places = [random.randrange(len(data)) for _ in range(random.choice((1, 1, 3, 20)))]
        for place in places:
            data[place] ^= 1 << random.randrange(8)
        told = f"bits flipped at {places}"
    elif kind == "zero":
        data[here : here + page] = bytes(page)
        told = f"page at {here} zeroed"
    elif kind == "double":
        data[there : there + page] = data[here : here + page]
        told = f"page at {here} copied to {there}"
    elif kind == "exchange":
        data[here : here + page], data[there : there + page] = (
            data[there : there + page],
            data[here : here + page],
        )
        told = f"pages at {here} and {there} exchanged"
    elif kind == "noise":
        start = here + random.randrange(page)
        length = random.choice((8, 64, page))
        data[start : start + length] = random.randbytes(length)
        told = f"noise at {start}"
    else:
        size = random.choice((0, 1, 99, page, here, random.randrange(len(data))))
        del data[size:]
        told = f"cut to {size} bytes"
    path.write_bytes(data)
    return f"{path.name}: {told}"


# -- rows


@contextlib.contextmanager
def lawless(path: Path):
    """A connection to the store whose tables have no constraints while it is open."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        statement = "SELECT rowid,sql FROM sqlite_master WHERE sql NOTNULL"
        laws = connection.execute(statement).fetchall()
        connection.execute("PRAGMA ignore_check_constraints=1")
        _write_schema(connection, [(number, _without_laws(sql)) for number, sql in laws])
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints=1")
        yield connection
        _write_schema(connection, laws)


def _without_laws(sql: str) -> str:
    return sql.replace("NOT NULL", "")


def _write_schema(connection, rows) -> None:
    connection.execute("PRAGMA writable_schema=1")
    connection.executemany("UPDATE sqlite_master SET sql=?2 WHERE rowid=?1", rows)
    (version,) = connection.execute("PRAGMA schema_version").fetchone()
    connection.execute(f"PRAGMA schema_version={version + 1}")
    connection.execute("PRAGMA writable_schema=0")


def _rows(path: Path, random: Random) -> str:
    table = random.choice(TABLE_NAMES)
    with lawless(path) as connection:
        for _ in range(20):
            told = _one_edit(connection, table, random)
            if told:
                return told
    return "nothing"


def _one_edit(connection, table, random) -> str:
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    rows = connection.execute(f"SELECT * FROM {table}").fetchall()
    column, row = random.choice(columns), random.choice(rows)
    where, key = _key(columns, row)
    try:
        if random.random() < 0.05:
            connection.execute(f"DELETE FROM {table} WHERE {where}", key)
            return f"{table}: row {key} deleted"
        value = _value(connection, random, row[columns.index(column)])
        done = connection.execute(f"UPDATE {table} SET {column}=? WHERE {where}", (value, *key))
        return f"{table}.{column} of {key} = {value!r:.60}" if done.rowcount else ""
    except (sqlite3.Error, OverflowError):
        return ""  # a key that exists already, or a value that fits no INTEGER PRIMARY KEY


def _key(columns, row) -> tuple[str, tuple]:
    width = 1 if columns[0] in ("id", "cookie") or columns[1] in ("mode", "target") else 2
    return " AND ".join(f"{c}=?" for c in columns[:width]), tuple(row[:width])


def _value(connection, random, old):
    """A hostile value: from the list, near the old one, or out of some other table."""
    kind = random.random()
    if kind < 0.5:
        return random.choice(HOSTILE)
    if kind < 0.75:
        if isinstance(old, int):
            return min(max(old + random.choice((-4096, -1, 1, 4096, 1 << 20)), -(2**63)), 2**63 - 1)
        if isinstance(old, bytes) and old:
            place = random.randrange(len(old))
            return old[:place] + bytes([old[place] ^ 1 << random.randrange(8)]) + old[place + 1 :]
    table = random.choice(TABLE_NAMES)
    row = random.choice(connection.execute(f"SELECT * FROM {table}").fetchall())
    return random.choice(row)


def _pairs(path: Path, random: Random) -> str:
    """Give one row another's value in the same column: plausible, and wrong."""
    table = random.choice(("inode", "dirent", "extent", "extent", "content"))
    with lawless(path) as connection:
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        rows = connection.execute(f"SELECT * FROM {table}").fetchall()
        here, there = random.choice(rows), random.choice(rows)
        column = random.choice(columns)
        where, key = _key(columns, here)
        value = there[columns.index(column)]
        try:
            connection.execute(f"UPDATE {table} SET {column}=? WHERE {where}", (value, *key))
        except sqlite3.Error:
            return "nothing"
    return f"{table}.{column} of {key} = {value!r:.60}, another row's"


# -- schema


def _schema(path: Path, random: Random) -> str:
    table = random.choice(TABLE_NAMES)
    column = "ino" if table not in ("volume", "member", "program", "layout") else "id"
    statement = random.choice((
        f"DROP TABLE {table}",
        f"ALTER TABLE {table} RENAME TO other",
        f"ALTER TABLE {table} RENAME COLUMN {column} TO other",
        f"ALTER TABLE {table} ADD COLUMN more",
        f"DELETE FROM {table}",
        "DROP INDEX dirent_name",
        "DROP INDEX dirent_order",
        "DELETE FROM sqlite_sequence",
        "UPDATE sqlite_sequence SET seq='x'",
        "UPDATE sqlite_sequence SET seq=9223372036854775807",
        f"CREATE TRIGGER t AFTER UPDATE ON {table} BEGIN DELETE FROM dirent; END",
        f"ALTER TABLE {table} RENAME TO hidden; CREATE VIEW {table} AS SELECT * FROM hidden",
        "PRAGMA application_id=7",
        f"PRAGMA user_version={random.choice((0, 2, 99, -1))}",
        "PRAGMA journal_mode=DELETE",
    ))  # fmt: skip
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.executescript(statement)
    except sqlite3.Error:
        return "nothing"
    return statement


# -- log


def _log(path: Path, random: Random) -> str:
    log = path.with_name(path.name + "-wal")
    if not log.exists():
        return "nothing"
    if random.random() < 0.1:
        log.unlink()
        return "the log removed"
    # A frame is a page and its header of 24 bytes, behind the log's own 32.
    return damage_bytes(log, random, random.choice((4096 + 24, 512)))


# -- superblocks


def places(path: Path) -> tuple[int, int]:
    """Where the two copies of a member's superblock lie, bytes."""
    return 0, path.stat().st_size // 4096 * 4096 - 4096


def put(path: Path, addr: int, data: bytes) -> None:
    """Overwrite bytes of a file."""
    fd = os.open(path, os.O_WRONLY)
    os.pwrite(fd, data, addr)
    os.close(fd)


def get(path: Path, addr: int, length: int = 4096) -> bytes:
    """Read bytes of a file."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.pread(fd, length, addr)
    finally:
        os.close(fd)
