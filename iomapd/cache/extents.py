# SPDX-License-Identifier: MIT
"""Extents already known, per inode: bounded, least recently used inodes first out.

The store is the authority and every change of geometry is committed before it is
published here, so forgetting is always allowed.  What is kept is a *window* on
an immutable extent, or an explicit hole; a gap means "ask the slow path".
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from iomapd.mapping.ordered import OrderedRecords

if TYPE_CHECKING:
    from iomapd.mapping.extent import Extent

DEFAULT_RECORDS: Final = 262_144  # about 100 MiB of Python objects at the very most
FIRST_COOKIE: Final = 1  # 0 means "always valid" in the kernel series


@dataclass(frozen=True, slots=True)
class Known:
    """A file range ``[offset, end)`` and the extent behind it; None is a hole."""

    offset: int
    end: int
    extent: Extent | None

    def cut(self, start: int, end: int) -> Known:
        """Return the part in ``[start, end)``; the extent stays whole."""
        return Known(start, end, self.extent)

    def join(self, following: Known) -> Known | None:
        """Join windows on the same extent, or holes, that touch."""
        if self.end == following.offset and self.extent is following.extent:
            return Known(self.offset, following.end, self.extent)
        return None


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """Counts since the mount; *records* and *inodes* are of now."""

    hits: int
    misses: int
    upserts: int
    invalidations: int
    evictions: int
    records: int
    inodes: int


class _Fork:
    __slots__ = ("cookie", "records")

    def __init__(self) -> None:
        self.cookie = FIRST_COOKIE
        self.records: OrderedRecords[Known] = OrderedRecords()


class ExtentCache:
    """Known extents of all inodes of a mount.

    Args:
        max_records: bound on the records kept; at least one inode always stays.
    """

    def __init__(self, max_records: int = DEFAULT_RECORDS) -> None:
        self._max_records = max_records
        self._forks: OrderedDict[int, _Fork] = OrderedDict()
        self._records = 0
        self._counts = dict.fromkeys(("hits", "misses", "upserts", "invalidations", "evictions"), 0)

    def find(self, ino: int, pos: int) -> Known | None:
        """Return what is known at *pos*, or None (a MISS); counts either."""
        fork = self._forks.get(ino)
        if fork is not None:
            self._forks.move_to_end(ino)
            known = fork.records.find(pos)
            if known is not None:
                self._counts["hits"] += 1
                return known
        self._counts["misses"] += 1
        return None

    def cookie(self, ino: int) -> int:
        """Return the validity cookie: it changes with every change of *ino*'s records."""
        fork = self._forks.get(ino)
        return fork.cookie if fork is not None else FIRST_COOKIE

    def upsert(self, ino: int, known: Known) -> None:
        """Publish what lies behind a range, replacing what was known of it."""
        fork = self._forks.get(ino)
        if fork is None:
            fork = self._forks[ino] = _Fork()
        self._forks.move_to_end(ino)
        self._change(fork, lambda: fork.records.upsert(known))
        self._counts["upserts"] += 1
        self._evict()

    def invalidate(self, ino: int, start: int, end: int) -> None:
        """Forget ``[start, end)`` of *ino*."""
        self._counts["invalidations"] += 1
        fork = self._forks.get(ino)
        if fork is not None:
            self._change(fork, lambda: fork.records.invalidate(start, end))

    def forget(self, ino: int) -> None:
        """Forget everything about *ino*."""
        fork = self._forks.pop(ino, None)
        if fork is not None:
            self._records -= len(fork.records)

    def statistics(self) -> CacheStatistics:
        """Return the counters."""
        return CacheStatistics(**self._counts, records=self._records, inodes=len(self._forks))

    def _change(self, fork: _Fork, change: object) -> None:
        # The cookie moves before the records do, as in the kernel series: who
        # holds the old cookie can only be told "stale" too early.
        fork.cookie += 1
        before = len(fork.records)
        change()  # type: ignore[operator]
        self._records += len(fork.records) - before

    def _evict(self) -> None:
        while self._records > self._max_records and len(self._forks) > 1:
            _, fork = self._forks.popitem(last=False)
            self._records -= len(fork.records)
            self._counts["evictions"] += 1
