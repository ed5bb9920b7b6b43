# SPDX-License-Identifier: MIT
"""Half-open integer ranges, and ordered sets of them.

A range is a pair ``(start, end)`` with ``start < end``; *end* is one past the
last byte.  A `RangeSet` keeps its ranges sorted, disjoint and merged: two
ranges that touch are one.  That canonical form makes equality of sets equality
of lists, which the tests use.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Range = tuple[int, int]


def round_down(value: int, unit: int) -> int:
    """Return the largest multiple of *unit* (> 0) that is <= *value*."""
    return value // unit * unit


def round_up(value: int, unit: int) -> int:
    """Return the smallest multiple of *unit* (> 0) that is >= *value*."""
    return -(-value // unit) * unit


class RangeSet:
    """A set of integers held as sorted, disjoint, merged half-open ranges.

    Two parallel lists and bisection: the sets here (written blocks of a file,
    holes of a request) have few ranges, and a list's memmove beats a tree until
    some hundred thousand of them.
    """

    __slots__ = ("_ends", "_starts")

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in ranges:
            self.add(start, end)

    def __iter__(self) -> Iterator[Range]:
        return iter(list(zip(self._starts, self._ends, strict=True)))

    def __len__(self) -> int:
        return len(self._starts)

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RangeSet):
            return NotImplemented
        return self._starts == other._starts and self._ends == other._ends

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"RangeSet({list(self)!r})"

    def copy(self) -> RangeSet:
        """Return an independent copy."""
        twin = RangeSet()
        twin._starts = self._starts.copy()
        twin._ends = self._ends.copy()
        return twin

    def total(self) -> int:
        """Return the number of integers in the set (bytes, if ranges are bytes)."""
        return sum(self._ends) - sum(self._starts)

    def end(self) -> int:
        """Return one past the largest member, or 0 when empty."""
        return self._ends[-1] if self._ends else 0

    def add(self, start: int, end: int) -> None:
        """Add ``[start, end)``; an empty range changes nothing."""
        if start >= end:
            return
        # Ranges that touch on either side are merged too: hence left on ends,
        # right on starts.
        low = bisect_left(self._ends, start)
        high = bisect_right(self._starts, end)
        if low < high:
            start = min(start, self._starts[low])
            end = max(end, self._ends[high - 1])
        self._starts[low:high] = [start]
        self._ends[low:high] = [end]

    def remove(self, start: int, end: int) -> None:
        """Remove ``[start, end)``; what was not there stays not there."""
        if start >= end:
            return
        low = bisect_right(self._ends, start)
        high = bisect_left(self._starts, end)
        if low >= high:
            return
        keep: list[Range] = []
        if self._starts[low] < start:
            keep.append((self._starts[low], start))
        if self._ends[high - 1] > end:
            keep.append((end, self._ends[high - 1]))
        self._starts[low:high] = [k[0] for k in keep]
        self._ends[low:high] = [k[1] for k in keep]

    def update(self, other: RangeSet) -> None:
        """Add every range of *other*."""
        for start, end in other:
            self.add(start, end)

    def contains(self, start: int, end: int) -> bool:
        """Tell whether all of ``[start, end)`` is in the set (True when empty)."""
        if start >= end:
            return True
        index = bisect_right(self._starts, start) - 1
        return index >= 0 and self._ends[index] >= end

    def overlaps(self, start: int, end: int) -> bool:
        """Tell whether any of ``[start, end)`` is in the set."""
        if start >= end:
            return False
        index = bisect_right(self._ends, start)
        return index < len(self._starts) and self._starts[index] < end

    def span(self, pos: int) -> tuple[bool, int | None]:
        """Tell whether *pos* is in the set, and where that changes; None: never again."""
        index = bisect_right(self._starts, pos)
        if index and pos < self._ends[index - 1]:
            return True, self._ends[index - 1]
        return False, self._starts[index] if index < len(self._starts) else None

    def intersect(self, start: int, end: int) -> list[Range]:
        """Return the parts of ``[start, end)`` that are in the set, in order."""
        found: list[Range] = []
        index = bisect_right(self._ends, start)
        while index < len(self._starts) and self._starts[index] < end:
            found.append((max(start, self._starts[index]), min(end, self._ends[index])))
            index += 1
        return found

    def gaps(self, start: int, end: int) -> list[Range]:
        """Return the parts of ``[start, end)`` that are *not* in the set, in order."""
        missing: list[Range] = []
        at = start
        for low, high in self.intersect(start, end):
            if at < low:
                missing.append((at, low))
            at = high
        if at < end:
            missing.append((at, end))
        return missing

    def pieces(self, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
        """Cut ``[start, end)`` into ``(start, end, present)`` pieces, in order."""
        at = start
        for low, high in self.intersect(start, end):
            if at < low:
                yield at, low, False
            yield low, high, True
            at = high
        if at < end:
            yield at, end, False
