# SPDX-License-Identifier: MIT
"""The slow path: what the cache does not know is looked up in the store and published.

A look-up is one indexed query of some 20 us in the event loop, with no checkpoint
between the miss and the publication: however many requests wait for a range, it
is looked up once.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from iomapd.abi.units import BLOCK, MAX_FILE_SIZE
from iomapd.cache.extents import Known
from iomapd.errors import BadMappingError
from iomapd.geometry.ranges import round_down
from iomapd.mapping.extent import check_extent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from iomapd.cache.extents import ExtentCache
    from iomapd.dataplane.engine import EncodedExtent
    from iomapd.geometry.ranges import RangeSet
    from iomapd.mapping.extent import Extent
    from iomapd.meta.space import Space as ExtentRows

log = logging.getLogger(__name__)

WINDOW: Final = 512  # extents read ahead per look-up
FILE_END: Final = round_down(MAX_FILE_SIZE, BLOCK)
"""Where data must end, bytes: sizes reach 2**63 - 1, but block ranges must fit the store."""


class SlowPath:
    """Answers ranges from the cache, else from the store.

    Args:
        cache: where answers are published.
        rows: the store's extents.
        data_size_of: data area size in bytes by member id, for checking rows.
        encode: lays an extent out for compiled code.
        contested: by member id, what more than one extent owns: it is nobody's.
    """

    def __init__(
        self,
        cache: ExtentCache,
        rows: ExtentRows,
        data_size_of: dict[int, int],
        encode: Callable[[Extent], EncodedExtent],
        contested: Mapping[int, RangeSet] | None = None,
    ) -> None:
        self._cache = cache
        self._rows = rows
        self._data_size_of = data_size_of
        self._contested = contested or {}
        self.encode = encode
        self.lookups = 0

    def known(self, ino: int, start: int, end: int) -> Iterator[tuple[int, int, Known]]:
        """Cut ``[start, end)`` into ``(start, end, what is known there)``, in order.

        Raises:
            BadMappingError: the store holds an extent that breaks a rule.
        """
        pos = start
        while pos < end:
            known = self._cache.find(ino, pos)
            if known is None:
                self._read_ahead(ino, pos)
                known = self._cache.find(ino, pos)
            if known is None:
                raise BadMappingError(f"inode {ino}: the store does not say what lies at {pos}")
            stop = min(known.end, end)
            yield pos, stop, known
            pos = stop

    def ranges(self, ino: int, start: int, end: int) -> Iterator[tuple[int, int, Extent | None]]:
        """Cut ``[start, end)`` into ``(start, end, extent)``, in order; None is a hole."""
        for low, high, known in self.known(ino, start, end):
            yield low, high, known.extent

    def look_up(self, ino: int, pos: int) -> Extent | None:
        """Ask the store for the extent at *pos*, past the cache; None is a hole."""
        self.lookups += 1
        found = self._rows.extents(ino, pos, pos + 1, 1)
        if not found:
            return None
        self.check(found[0])
        return found[0]

    def check(self, extent: Extent) -> None:
        """Check an extent that the store holds, before anything is done with it.

        Raises:
            BadMappingError: it breaks a rule, or another extent owns the same space.
        """
        check_extent(extent, self._data_size_of)
        for member, (start, end) in extent.spaces() if self._contested else ():
            if member in self._contested and self._contested[member].overlaps(start, end):
                raise BadMappingError(
                    f"extent of inode {extent.ino} at {extent.offset}: another extent owns the "
                    "same space, and nobody can tell whose data lies there"
                )

    def hole_around(self, ino: int, pos: int) -> tuple[int, int]:
        """Return the whole hole ``[start, end)`` around *pos*, which is in one."""
        self._read_ahead(ino, pos)
        known = self._cache.find(ino, pos)
        if known is None or known.extent is not None:
            raise BadMappingError(f"inode {ino}: its extents at {pos} contradict each other")
        return self._rows.end_before(ino, pos), known.end

    def publish(self, extents: list[Extent]) -> None:
        """Publish extents that have just been committed."""
        for extent in extents:
            self._cache.upsert(extent.ino, self._window(extent))

    def _window(self, extent: Extent) -> Known:
        return Known(extent.offset, extent.end, extent, self.encode(extent))

    def _read_ahead(self, ino: int, pos: int) -> None:
        self.lookups += 1
        found = self._rows.extents(ino, pos, FILE_END, WINDOW)
        for extent in found:
            self.check(extent)
        at = pos
        for extent in found:
            if at < extent.offset:
                self._cache.upsert(ino, Known(at, extent.offset, None))
            self._cache.upsert(ino, self._window(extent))
            at = extent.end
        if len(found) < WINDOW and at < FILE_END:
            self._cache.upsert(ino, Known(at, FILE_END, None))
