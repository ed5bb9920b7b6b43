# SPDX-License-Identifier: MIT
"""Rows as they are read: a store is a file, and a file may hold anything.

SQLite's columns take values of any type, whatever their table says (sqlite.org/
datatype3.html), and a damaged page can give any number.  So every value is held
against what its column may hold before it is used, and SQLite's errors become
ours here: whoever reads through `Rows` meets values that can be used, or a
`StoreError` in words.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from iomapd.abi.units import MAX_FILE_SIZE, NAME_MAX
from iomapd.errors import StoreError, on_one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

ID_MAX: Final = 2**62
WORDS_MAX: Final = 300  # characters of an error that SQLite words
"""Largest id: sums with one, such as a readdir position, must still fit a ``loff_t``."""


class Column(NamedTuple):
    """What a column may hold: numbers from *low* to *high*, or bytes or text of such a length."""

    name: str
    low: int
    high: int
    kind: type = int

    def fault(self, value: Any) -> str:
        """Say what is wrong with *value*; empty when nothing is."""
        given: Any = value
        if isinstance(value, self.kind):
            size = given if self.kind is int else len(given)
            # A NUL would end the text for whoever hands it to the kernel.
            if self.low <= size <= self.high and not (self.kind is str and "\0" in given):
                return ""
        what = "a number" if self.kind is int else f"{_KINDS[self.kind]} of length"
        return f"{self.name} is {shown(value)}, not {what} from {self.low} to {self.high}"


_KINDS: Final[dict[type, str]] = {bytes: "bytes", str: "text"}
_ANY: Final = (-(2**63), 2**63 - 1)
_U32: Final = (0, 2**32 - 1)

VOLUME: Final = (
    Column("uuid", 16, 16, bytes), Column("name", 0, 255, str), Column("created_ns", 0, 2**63 - 1),
    Column("block_size", 4096, 4096), Column("generation", 1, ID_MAX), Column("pending", 1, ID_MAX),
    Column("root_layout", 1, ID_MAX),
)  # fmt: skip
MEMBER: Final = (
    Column("id", 1, 2**32 - 1), Column("place", 0, 63), Column("uuid", 16, 16, bytes),
    Column("path", 0, 4096, str), Column("data_offset", 4096, ID_MAX),
    Column("data_size", 4096, ID_MAX), Column("logical_sector", 0, 65536),
)  # fmt: skip
PROGRAM: Final = (
    Column("id", 1, ID_MAX), Column("name", 1, 255, str), Column("abi", 1, 2**31 - 1),
    Column("sha256", 64, 64, str), Column("source", 0, 65536, str),
)  # fmt: skip
LAYOUT: Final = (
    Column("id", 1, ID_MAX), Column("unit", 4096, 2**30), Column("width", 0, 2**31 - 1),
    Column("strip_min", 4096, ID_MAX), Column("strip_max", 4096, ID_MAX),
    Column("program", 1, ID_MAX), Column("params", 64, 64, bytes), Column("copies", 1, 1),
    Column("flags", 0, 0),
)  # fmt: skip
INODE: Final = (
    Column("ino", 1, ID_MAX), Column("mode", 0, 0o177777), Column("uid", *_U32),
    Column("gid", *_U32), Column("nlink", *_U32), Column("rdev", *_U32),
    Column("size", 0, MAX_FILE_SIZE), Column("atime_ns", *_ANY), Column("mtime_ns", *_ANY),
    Column("ctime_ns", *_ANY), Column("btime_ns", *_ANY), Column("layout", 1, ID_MAX),
)  # fmt: skip
DIRENT: Final = (
    Column("cookie", 1, ID_MAX), Column("parent", 1, ID_MAX), Column("name", 1, NAME_MAX, bytes),
    Column("ino", 1, ID_MAX),
)  # fmt: skip
SYMLINK: Final = (Column("ino", 1, ID_MAX), Column("target", 1, 4095, bytes))
XATTR: Final = (
    Column("ino", 1, ID_MAX), Column("name", 1, NAME_MAX, bytes), Column("value", 0, 65536, bytes),
)  # fmt: skip
EXTENT: Final = (
    Column("ino", 1, ID_MAX), Column("start", *_ANY), Column("length", *_ANY),
    Column("layout", 1, ID_MAX), Column("unit", *_ANY), Column("seed", *_ANY),
    Column("strip_length", *_ANY), Column("strip_alloc", *_ANY), Column("strips", 16, 1024, bytes),
    Column("speculative", 0, 1),
)  # fmt: skip
CONTENT: Final = (
    Column("ino", 1, ID_MAX), Column("start", 0, MAX_FILE_SIZE), Column("length", 1, MAX_FILE_SIZE),
)  # fmt: skip


def fault_of(columns: Sequence[Column], row: Sequence[object]) -> str:
    """Say what is wrong with the first bad value of *row*; empty for a good row."""
    for column, value in zip(columns, row, strict=True):
        # Written out for the common case: most values are good numbers.
        if type(value) is int and column.kind is int and column.low <= value <= column.high:
            continue
        if fault := column.fault(value):
            return fault
    return ""


def require(columns: Sequence[Column], row: Sequence[Any], whose: str) -> None:
    """Refuse a row that breaks a rule.

    Raises:
        StoreError: naming *whose* row it is, the column, the value and the rule.
    """
    if fault := fault_of(columns, row):
        raise StoreError(f"{whose}: {fault}")


def sound(
    columns: Sequence[Column],
    rows: Iterable[Any],
    whose: str,
    told: Callable[[int, str], None] | None,
) -> Iterator[Any]:
    """Iterate over the good rows; a bad one is *told* of and left out, or raised.

    Args:
        columns: their rules.
        rows: rows as read; the first column is an id.
        whose: what a row is, such as "inode"; its id is added.
        told: called with the id and the sentence; None raises StoreError.
    """
    for row in rows:
        if not (fault := fault_of(columns, row)):
            yield row
        elif told is None:
            raise StoreError(f"{whose} {shown(row[0])}: {fault}")
        else:
            told(row[0] if isinstance(row[0], int) else 0, f"{whose} row: {fault}")


def shown(value: object) -> str:
    """Write any value of a row so that it stays short and on one line."""
    if value is None:
        return "nothing"
    if isinstance(value, bytes):
        return f"the bytes {value[:16].hex() or 'of none'}{'...' if len(value) > 16 else ''}"
    if isinstance(value, str):
        return f"the text {value[:32]!a}{'...' if len(value) > 32 else ''}"
    return str(value)


class Rows:
    """Statements on the store's connection; every error of SQLite becomes a `StoreError`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.execute = connection.execute
        self.executemany = connection.executemany

    def one(self, statement: str, values: Sequence[object] = ()) -> Any:
        """Return the first row, or None."""
        try:
            return self.execute(statement, values).fetchone()
        except (sqlite3.Error, OverflowError, UnicodeDecodeError) as exc:
            raise unreadable(exc) from exc

    def all(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        """Return all rows."""
        try:
            return self.execute(statement, values).fetchall()
        except (sqlite3.Error, OverflowError, UnicodeDecodeError) as exc:
            raise unreadable(exc) from exc

    def each(self, statement: str, values: Sequence[object] = ()) -> Iterator[Any]:
        """Iterate over all rows, which may be many."""
        try:
            # No `yield from`: it would close the cursor of a store that is closed already.
            for row in self.execute(statement, values):  # noqa: UP028
                yield row
        except (sqlite3.Error, UnicodeDecodeError) as exc:
            raise unreadable(exc) from exc


def unreadable(exc: Exception) -> StoreError:
    """Return the error for a store that SQLite cannot read."""
    return StoreError(f"the metadata store cannot be read: {words_of(exc)}")


def words_of(exc: object) -> str:
    """Return the first of SQLite's words on one line: they may quote what a damaged page says."""
    return on_one_line(str(exc)[:WORDS_MAX])
