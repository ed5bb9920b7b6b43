# SPDX-License-Identifier: MIT
"""Extents (geometry) and content (what is written): two tables that never mix."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from iomapd.abi.units import BLOCK, MAX_FILE_SIZE
from iomapd.errors import StoreError
from iomapd.mapping.extent import Extent, Strip
from iomapd.meta.records import ContentRecord
from iomapd.meta.rows import CONTENT, EXTENT, Rows, require, shown, sound

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator

    from iomapd.geometry.ranges import Range

_PAIR = struct.Struct("<qq")
_COLUMNS = (
    "extent.ino,start,extent.length,extent.layout,layout.unit,seed,strip_length,strip_alloc,"
    "strips,speculative"
)
# LEFT: an extent whose layout is not there must be a fault, not a hole.
_FROM = "FROM extent LEFT JOIN layout ON layout.id=extent.layout"


def _decode(row: tuple[Any, ...]) -> Extent:
    if row[4] is None:
        named = f"names layout {shown(row[3])}, which is not there"
        raise StoreError(f"extent of inode {shown(row[0])}: {named}")
    require(EXTENT, row, f"extent of inode {row[0]}")
    ino, start, length, layout, unit, seed, strip_length, strip_alloc, pairs, ahead = row
    if len(pairs) % _PAIR.size:
        raise StoreError(f"extent of inode {ino}: {len(pairs)} bytes of strips; they have 16 each")
    strips = tuple(Strip(member, addr) for member, addr in _PAIR.iter_unpack(pairs))
    return Extent(
        ino, start, length, layout, unit, seed, strip_length, strip_alloc, strips, bool(ahead)
    )


def _encode(extent: Extent) -> tuple[Any, ...]:
    return (
        extent.ino,
        extent.offset,
        extent.length,
        extent.layout,
        extent.seed,
        extent.strip_length,
        extent.strip_alloc,
        int(extent.speculative),
        b"".join(_PAIR.pack(s.member, s.addr) for s in extent.strips),
    )


class Space:
    """Extents and content of all files; *connection* belongs to the `Database`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._rows = Rows(connection)
        self._execute = connection.execute
        self._executemany = connection.executemany

    # -- extents

    def extents(self, ino: int, start: int, end: int, limit: int) -> list[Extent]:
        """Return up to *limit* extents of *ino* that meet ``[start, end)``, in order."""
        found = self._rows.all(
            f"SELECT {_COLUMNS} {_FROM} WHERE ino=? AND start>=coalesce((SELECT max(start) "
            "FROM extent WHERE ino=? AND start<=?),0) AND start<? ORDER BY start LIMIT ?",
            (ino, ino, start, end, limit),
        )
        return [extent for extent in map(_decode, found) if extent.end > start]

    def geometries(self) -> Iterator[tuple[int, int, int, int]]:
        """Iterate over ``(layout, strips, strip length, seed)`` of extents, each once.

        Of more than one strip: others ask no program.
        """
        for row in self._rows.each(
            "SELECT DISTINCT layout,length(strips)/16,strip_length,seed FROM extent "
            "WHERE length(strips)>16"
        ):
            if any(type(value) is not int for value in row):
                raise StoreError(f"an extent of layout {row[0]} has no geometry")
            yield row

    def end_before(self, ino: int, pos: int) -> int:
        """Return where the last extent that starts before *pos* ends, or 0."""
        row = self._rows.one(
            "SELECT ino,start,length FROM extent WHERE ino=? AND start<? ORDER BY start DESC "
            "LIMIT 1",
            (ino, pos),
        )
        if row is None:
            return 0
        require(CONTENT, row, f"extent of inode {ino}")
        return int(row[1] + row[2])

    def allocated(self, ino: int) -> tuple[int, bool]:
        """Return the bytes of extents that are here to stay, and whether there are others."""
        row = self._rows.one(
            "SELECT sum(length) FILTER (WHERE speculative=0), max(speculative) "
            "FROM extent WHERE ino=?",
            (ino,),
        )
        total = row[0] or 0
        if type(total) is not int or not 0 <= total <= MAX_FILE_SIZE:
            raise StoreError(f"extents of inode {ino}: their lengths add up to {total}")
        return total, bool(row[1])

    def speculative(self, ino: int) -> list[Extent]:
        """Return the speculative extents of *ino*, in order."""
        found = self._rows.all(
            f"SELECT {_COLUMNS} {_FROM} WHERE ino=? AND speculative=1 ORDER BY start", (ino,)
        )
        return [_decode(row) for row in found]

    def of_other_layouts(self, ino: int, layout: int, start: int, limit: int) -> list[Extent]:
        """Return up to *limit* extents of *ino* from *start* on that *layout* has not made."""
        found = self._rows.all(
            f"SELECT {_COLUMNS} {_FROM} WHERE ino=? AND start>=? AND extent.layout!=? "
            "ORDER BY start LIMIT ?",
            (ino, start, layout, limit),
        )
        return [_decode(row) for row in found]

    def put_extents(self, extents: Iterable[Extent]) -> None:
        """Insert or replace extents by (ino, offset)."""
        self._executemany(
            "INSERT OR REPLACE INTO extent (ino,start,length,layout,seed,strip_length,strip_alloc,"
            "speculative,strips) VALUES (?,?,?,?,?,?,?,?,?)",
            map(_encode, extents),
        )

    def delete_extents(self, extents: Iterable[Extent]) -> None:
        """Delete extents by (ino, offset)."""
        self._executemany(
            "DELETE FROM extent WHERE ino=? AND start=?", [(e.ino, e.offset) for e in extents]
        )

    def iter_extents(
        self, ino: int | None = None, told: Callable[[int, str], None] | None = None
    ) -> Iterator[Extent]:
        """Iterate over the extents of *ino*, or of all files, in (ino, offset) order.

        *told* of rows that are no extent, see `rows.sound`.
        """
        where, values = ("WHERE ino=?", (ino,)) if ino is not None else ("", ())
        statement = f"SELECT {_COLUMNS} {_FROM} {where} ORDER BY ino,start"
        for row in self._rows.each(statement, values):
            try:
                yield _decode(row)
            except StoreError as exc:
                if told is None:
                    raise
                told(row[0] if isinstance(row[0], int) else 0, str(exc))

    def owned(self, told: Callable[[int, str], None]) -> Iterator[tuple[int, int, Range]]:
        """Iterate over ``(ino, member id, (start, end))`` of every strip, bytes.

        Without making extents of the rows: a mount looks at all of them.  *told* of
        rows that cannot say what they own.
        """
        for ino, length, strips in self._rows.each("SELECT ino,strip_alloc,strips FROM extent"):
            if type(length) is not int or type(strips) is not bytes or len(strips) % _PAIR.size:
                told(ino if isinstance(ino, int) else 0, "an extent row does not say what it owns")
                continue
            for member, addr in _PAIR.iter_unpack(strips):
                yield ino, member, (addr, addr + length)

    def speculative_inodes(self) -> list[int]:
        """Return the inodes that own speculative extents."""
        found = self._rows.all("SELECT DISTINCT ino FROM extent WHERE speculative=1")
        return [row[0] for row in found]

    # -- content

    def written(self, ino: int) -> list[Range]:
        """Return the written ranges of *ino*, in order."""
        found = self._rows.all(
            "SELECT ino,start,length FROM content WHERE ino=? ORDER BY start", (ino,)
        )
        for row in found:
            require(CONTENT, row, f"content of inode {ino}")
            if fault := content_fault(row[1], row[2]):
                raise StoreError(f"content of inode {ino}: {fault}")
        return [(start, start + length) for _, start, length in found]

    def mark_written(self, ino: int, ranges: Iterable[Range]) -> None:
        """Add written ranges, merging with rows they touch or overlap."""
        for start, end in ranges:
            touching = self._touching(ino, start, end)
            for low, high in touching:
                start, end = min(start, low), max(end, high)
            self._delete_starts(ino, touching)
            self._insert(ino, start, end)

    def clear_written(self, ino: int, start: int, end: int) -> None:
        """Remove ``[start, end)`` from the written ranges."""
        touching = [r for r in self._touching(ino, start, end) if r[0] < end and r[1] > start]
        self._delete_starts(ino, touching)
        for low, high in touching:
            if low < start:
                self._insert(ino, low, start)
            if high > end:
                self._insert(ino, end, high)

    def delete_file(self, ino: int) -> None:
        """Delete all extents and content of *ino*."""
        self._execute("DELETE FROM extent WHERE ino=?", (ino,))
        self._execute("DELETE FROM content WHERE ino=?", (ino,))

    def iter_content(
        self, told: Callable[[int, str], None] | None = None
    ) -> Iterator[ContentRecord]:
        """Iterate over all content rows in (ino, offset) order; *told* of broken rows."""
        rows = self._rows.each("SELECT ino,start,length FROM content ORDER BY ino,start")
        for row in sound(CONTENT, rows, "content of inode", told):
            yield ContentRecord(*row)

    def _touching(self, ino: int, start: int, end: int) -> list[Range]:
        found = self._rows.all(
            "SELECT ino,start,length FROM content WHERE ino=? AND start<=? AND start>="
            "coalesce((SELECT max(start) FROM content WHERE ino=? AND start<=?),0)",
            (ino, end, ino, start),
        )
        for row in found:
            require(CONTENT, row, f"content of inode {ino}")
        return [(low, low + length) for _, low, length in found if low + length >= start]

    def _delete_starts(self, ino: int, ranges: Iterable[Range]) -> None:
        self._executemany(
            "DELETE FROM content WHERE ino=? AND start=?", [(ino, r[0]) for r in ranges]
        )

    def _insert(self, ino: int, start: int, end: int) -> None:
        self._execute(
            "INSERT INTO content (ino,start,length) VALUES (?,?,?)", (ino, start, end - start)
        )


def content_fault(start: int, length: int) -> str:
    """Say what is wrong with a written range; empty when nothing is."""
    if start % BLOCK or length % BLOCK:
        return f"written range at {start} of {length} bytes is not whole blocks"
    if start > MAX_FILE_SIZE - length:
        return f"written range at {start} of {length} bytes is beyond the largest file"
    return ""
