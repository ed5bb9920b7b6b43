# SPDX-License-Identifier: MIT
"""What is already known, per inode: bounded, least recently used inodes first out.

The store is the authority and every change of geometry is committed before it is
published here, so forgetting is always allowed; a gap means "ask the slow path".
Two kinds of records are kept this way:

    Known     a window on an immutable extent, or an explicit hole
    Placed    a member-level mapping, for the ``cache`` strategy

What is derived follows what it was derived from: a cache invalidates its follower.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from iomapd.mapping.ordered import OrderedRecords, Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from iomapd.mapping.extent import Extent

DEFAULT_RECORDS: Final = 262_144  # about 100 MiB of Python objects at the very most
FIRST_COOKIE: Final = 1  # 0 means "always valid" in the kernel series

R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class Known:
    """A file range ``[offset, end)`` and the extent behind it; None is a hole.

    *words* is the extent as compiled code reads it, for whoever put it there.
    """

    offset: int
    end: int
    extent: Extent | None
    words: Any = field(default=None, compare=False)

    def cut(self, start: int, end: int) -> Known:
        """Return the part in ``[start, end)``; the extent stays whole."""
        return Known(start, end, self.extent, self.words)

    def join(self, following: Known) -> Known | None:
        """Join windows on the same extent, or holes, that touch."""
        if self.end == following.offset and self.extent is following.extent:
            return Known(self.offset, following.end, self.extent, self.words)
        return None


@dataclass(frozen=True, slots=True)
class Placed:
    """A file range ``[offset, end)`` that lies at *addr* of *member*'s data area; bytes."""

    offset: int
    end: int
    member: int
    addr: int

    def cut(self, start: int, end: int) -> Placed:
        """Return the part in ``[start, end)``."""
        return Placed(start, end, self.member, self.addr + start - self.offset)

    def join(self, following: Placed) -> Placed | None:
        """Join mappings that continue each other in the file and on the member."""
        here = (self.end, self.member, self.addr + self.end - self.offset)
        if here == (following.offset, following.member, following.addr):
            return Placed(self.offset, following.end, self.member, self.addr)
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


class _Fork(Generic[R]):
    __slots__ = ("cookie", "records")

    def __init__(self) -> None:
        self.cookie = FIRST_COOKIE
        self.records: OrderedRecords[R] = OrderedRecords()


class RecordCache(Generic[R]):
    """Records of all inodes of a mount.

    Args:
        max_records: bound on the records kept; at least one inode always stays.
        follower: a cache of what is derived from this one's records.
    """

    def __init__(
        self, max_records: int = DEFAULT_RECORDS, follower: RecordCache[Any] | None = None
    ) -> None:
        self._max_records = max_records
        self._follower = follower
        self._forks: OrderedDict[int, _Fork[R]] = OrderedDict()
        self._records = 0
        self._counts = dict.fromkeys(("hits", "misses", "upserts", "invalidations", "evictions"), 0)

    def find(self, ino: int, pos: int) -> R | None:
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

    def around(self, ino: int, pos: int, limit: int) -> list[R]:
        """Return up to *limit* neighbouring records of *ino*, those around *pos* first.

        In file order; what lies between them is not known.
        """
        fork = self._forks.get(ino)
        return fork.records.around(pos, limit) if fork is not None else []

    def between(self, ino: int, start: int, end: int) -> list[R]:
        """Return the records of *ino* that meet ``[start, end)``, in file order."""
        fork = self._forks.get(ino)
        return fork.records.between(start, end) if fork is not None else []

    def reach(self, ino: int, pos: int, limit: int) -> int:
        """Return how far from *pos* on everything is known, by *limit* records at most."""
        fork = self._forks.get(ino)
        return fork.records.reach(pos, limit) if fork is not None else pos

    def cookie(self, ino: int) -> int:
        """Return the validity cookie: it changes with every change of *ino*'s records."""
        fork = self._forks.get(ino)
        return fork.cookie if fork is not None else FIRST_COOKIE

    def upsert(self, ino: int, known: R) -> None:
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
        if self._follower is not None:
            self._follower.invalidate(ino, start, end)
        fork = self._forks.get(ino)
        if fork is not None:
            self._change(fork, lambda: fork.records.invalidate(start, end))

    def forget(self, ino: int) -> None:
        """Forget everything about *ino*."""
        if self._follower is not None:
            self._follower.forget(ino)
        fork = self._forks.pop(ino, None)
        if fork is not None:
            self._records -= len(fork.records)

    def clear(self) -> None:
        """Forget everything about everybody."""
        if self._follower is not None:
            self._follower.clear()
        self._forks.clear()
        self._records = 0

    def statistics(self) -> CacheStatistics:
        """Return the counters."""
        return CacheStatistics(**self._counts, records=self._records, inodes=len(self._forks))

    def _change(self, fork: _Fork[R], change: Callable[[], None]) -> None:
        # The cookie moves before the records do, as in the kernel series: who
        # holds the old cookie can only be told "stale" too early.
        fork.cookie += 1
        before = len(fork.records)
        change()
        self._records += len(fork.records) - before

    def _evict(self) -> None:
        while self._records > self._max_records and len(self._forks) > 1:
            _, fork = self._forks.popitem(last=False)
            self._records -= len(fork.records)
            self._counts["evictions"] += 1


ExtentCache = RecordCache[Known]
PlaceCache = RecordCache[Placed]
