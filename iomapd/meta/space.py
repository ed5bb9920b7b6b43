# SPDX-License-Identifier: MIT
"""Extents (geometry) and content (what is written): two tables that never mix."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from iomapd.mapping.extent import Extent, Strip
from iomapd.meta.records import ContentRecord

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

    from iomapd.geometry.ranges import Range

_PAIR = struct.Struct("<qq")
_COLUMNS = (
    "extent.ino,start,extent.length,extent.layout,layout.unit,seed,strip_length,strip_alloc,"
    "strips,speculative"
)
_FROM = "FROM extent JOIN layout ON layout.id=extent.layout"


def _decode(row: tuple[Any, ...]) -> Extent:
    ino, start, length, layout, unit, seed, strip_length, strip_alloc, pairs, ahead = row
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
        self._execute = connection.execute
        self._executemany = connection.executemany

    # -- extents

    def extents(self, ino: int, start: int, end: int, limit: int) -> list[Extent]:
        """Return up to *limit* extents of *ino* that meet ``[start, end)``, in order."""
        found = self._execute(
            f"SELECT {_COLUMNS} {_FROM} WHERE ino=? AND start>=coalesce((SELECT max(start) "
            "FROM extent WHERE ino=? AND start<=?),0) AND start<? ORDER BY start LIMIT ?",
            (ino, ino, start, end, limit),
        )
        return [extent for extent in map(_decode, found) if extent.end > start]

    def end_before(self, ino: int, pos: int) -> int:
        """Return where the last extent that starts before *pos* ends, or 0."""
        row = self._execute(
            "SELECT start+length FROM extent WHERE ino=? AND start<? ORDER BY start DESC LIMIT 1",
            (ino, pos),
        ).fetchone()
        return row[0] if row else 0

    def allocated(self, ino: int) -> tuple[int, bool]:
        """Return the bytes of extents that are here to stay, and whether there are others."""
        row = self._execute(
            "SELECT sum(length) FILTER (WHERE speculative=0), max(speculative) "
            "FROM extent WHERE ino=?",
            (ino,),
        ).fetchone()
        return row[0] or 0, bool(row[1])

    def speculative(self, ino: int) -> list[Extent]:
        """Return the speculative extents of *ino*, in order."""
        found = self._execute(
            f"SELECT {_COLUMNS} {_FROM} WHERE ino=? AND speculative=1 ORDER BY start", (ino,)
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

    def iter_extents(self, ino: int | None = None) -> Iterator[Extent]:
        """Iterate over the extents of *ino*, or of all files, in (ino, offset) order."""
        where, values = ("WHERE ino=?", (ino,)) if ino is not None else ("", ())
        for row in self._execute(f"SELECT {_COLUMNS} {_FROM} {where} ORDER BY ino,start", values):
            yield _decode(row)

    def owned(self) -> Iterator[tuple[int, int, Range]]:
        """Iterate over ``(ino, member id, (start, end))`` of every strip, bytes.

        Without making extents of the rows: a mount looks at all of them.
        """
        for ino, length, strips in self._execute("SELECT ino,strip_alloc,strips FROM extent"):
            for member, addr in _PAIR.iter_unpack(strips):
                yield ino, member, (addr, addr + length)

    def speculative_inodes(self) -> list[int]:
        """Return the inodes that own speculative extents."""
        return [r[0] for r in self._execute("SELECT DISTINCT ino FROM extent WHERE speculative=1")]

    # -- content

    def written(self, ino: int) -> list[Range]:
        """Return the written ranges of *ino*, in order."""
        return [
            (start, start + length)
            for start, length in self._execute(
                "SELECT start,length FROM content WHERE ino=? ORDER BY start", (ino,)
            )
        ]

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

    def iter_content(self) -> Iterator[ContentRecord]:
        """Iterate over all content rows in (ino, offset) order."""
        for row in self._execute("SELECT ino,start,length FROM content ORDER BY ino,start"):
            yield ContentRecord(*row)

    def _touching(self, ino: int, start: int, end: int) -> list[Range]:
        found = self._execute(
            "SELECT start,length FROM content WHERE ino=? AND start<=? AND start>="
            "coalesce((SELECT max(start) FROM content WHERE ino=? AND start<=?),0)",
            (ino, end, ino, start),
        )
        return [(low, low + length) for low, length in found if low + length >= start]

    def _delete_starts(self, ino: int, ranges: Iterable[Range]) -> None:
        self._executemany(
            "DELETE FROM content WHERE ino=? AND start=?", [(ino, r[0]) for r in ranges]
        )

    def _insert(self, ino: int, start: int, end: int) -> None:
        self._execute(
            "INSERT INTO content (ino,start,length) VALUES (?,?,?)", (ino, start, end - start)
        )
