# SPDX-License-Identifier: MIT
"""Ordered, non-overlapping records by file range: upsert, invalidate, coalesce.

The operations and their meaning are those of the fuse-iomap series' mapping
cache (fuse_iomap_cache.c): an upsert removes what it overlaps and then inserts;
removing cuts records left, right or in two; neighbours that continue each other
are merged; a gap means "not known", never "hole".
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator


class Record(Protocol):
    """What can be kept in order: a range that can be cut and joined."""

    @property
    def offset(self) -> int:
        """First byte of the file range."""

    @property
    def end(self) -> int:
        """One past the last byte of the file range."""

    def cut(self: R, start: int, end: int) -> R:
        """Return the part of the record in ``[start, end)``, a non-empty subrange."""

    def join(self: R, following: R) -> R | None:
        """Return both as one record if *following* continues this one, else None."""


R = TypeVar("R", bound=Record)


class OrderedRecords(Generic[R]):
    """The records of one fork of one inode, in file order."""

    __slots__ = ("_offsets", "_records")

    def __init__(self) -> None:
        self._offsets: list[int] = []
        self._records: list[R] = []

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[R]:
        return iter(self._records)

    def find(self, pos: int) -> R | None:
        """Return the record that covers *pos*, or None: a MISS."""
        index = bisect_right(self._offsets, pos) - 1
        if index >= 0 and self._records[index].end > pos:
            return self._records[index]
        return None

    def around(self, pos: int, limit: int) -> list[R]:
        """Return up to *limit* records next to each other; what covers *pos* is among the first."""
        low = max(0, bisect_right(self._offsets, pos) - 1 - limit // 4)
        return self._records[low : low + limit]

    def between(self, start: int, end: int) -> list[R]:
        """Return the records that meet ``[start, end)``."""
        low = bisect_right(self._offsets, start) - 1
        if low < 0 or self._records[low].end <= start:
            low += 1
        return self._records[low : bisect_left(self._offsets, end)]

    def reach(self, pos: int, limit: int) -> int:
        """Return where the first gap from *pos* on begins, looking at *limit* records at most."""
        first = max(0, bisect_right(self._offsets, pos) - 1)
        for record in self._records[first : first + limit]:
            if record.offset > pos:
                break
            pos = max(pos, record.end)
        return pos

    def upsert(self, record: R) -> None:
        """Insert *record*, replacing whatever it overlaps, and coalesce."""
        index = self._carve(record.offset, record.end)
        if index > 0 and (joined := self._records[index - 1].join(record)) is not None:
            index -= 1
            self._drop(index)
            record = joined
        if index < len(self._records) and (joined := record.join(self._records[index])) is not None:
            self._drop(index)
            record = joined
        self._offsets.insert(index, record.offset)
        self._records.insert(index, record)

    def invalidate(self, start: int, end: int) -> None:
        """Forget ``[start, end)``; an empty range changes nothing."""
        if start < end:
            self._carve(start, end)

    def _drop(self, index: int) -> None:
        del self._offsets[index], self._records[index]

    def _carve(self, start: int, end: int) -> int:
        """Remove ``[start, end)``; return the index where it would be inserted."""
        low = bisect_right(self._offsets, start) - 1
        if low < 0 or self._records[low].end <= start:
            low += 1
        high = low
        keep: list[R] = []
        at = low
        while high < len(self._records) and self._records[high].offset < end:
            record = self._records[high]
            if record.offset < start:
                keep.append(record.cut(record.offset, start))
                at += 1
            if record.end > end:
                keep.append(record.cut(end, record.end))
            high += 1
        self._records[low:high] = keep
        self._offsets[low:high] = [record.offset for record in keep]
        return at
