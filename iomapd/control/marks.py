# SPDX-License-Identifier: MIT
"""Content marks: which blocks of a file are written, as Python and lanes both see it.

    RangeSets of the inode    all marks, and those no durability point has copied
    bitmaps of its extents    the same for lanes and for who comes after a crash

Lanes mark in the bitmaps; `Marks.of` absorbs that before anybody here decides anything.  What
is marked here goes into both.  A fresh bit is cleared when the store has it, not before: until
then a killed server's successor finds it there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from iomapd.abi.units import BLOCK
from iomapd.cache.compiled import helpers
from iomapd.cache.entry import MARKED
from iomapd.cache.heritage import runs
from iomapd.geometry.ranges import RangeSet
from iomapd.native.region import Region

if TYPE_CHECKING:
    from collections.abc import Iterable

    from iomapd.cache.inode import Inode
    from iomapd.cache.inodes import InodeTable
    from iomapd.cache.table import Pair, SharedTable
    from iomapd.control.slowpath import SlowPath
    from iomapd.geometry.ranges import Range
    from iomapd.mapping.extent import Extent
    from iomapd.meta.space import Space as ExtentRows

_RUNS: Final = 4096  # runs collected per call


class Marks:
    """The marks of all inodes of a mount.

    Args:
        table: attaches inodes.
        shared: where their bitmaps lie.
        slow: knows extents.
        rows: the store's marks.
    """

    def __init__(
        self, table: InodeTable, shared: SharedTable, slow: SlowPath, rows: ExtentRows
    ) -> None:
        self._table = table
        self._shared = shared
        self._slow = slow
        self._rows = rows
        self._out = Region(_RUNS * 16)

    def of(self, inode: Inode) -> RangeSet:
        """Return the written blocks of *inode*: of everything completed before this call."""
        if inode.written is None:
            inode.written = RangeSet(self._rows.written(inode.ino))
        # The counter first: who marks after this raises it again.
        if inode.entry and helpers().take(inode.entry + MARKED):
            self._absorb(inode, inode.written)
        return inode.written

    def _absorb(self, inode: Inode, written: RangeSet) -> None:
        for pair in inode.pairs.values():
            for first, last in runs(pair.fresh, pair.nr_blocks, self._out):
                start, end = pair.offset + first * BLOCK, pair.offset + last * BLOCK
                # What is absorbed already is on its way into the store.
                for low, high in written.gaps(start, end):
                    inode.fresh.add(low, high)
                    written.add(low, high)
                    inode.note_change()

    def add(self, inode: Inode, start: int, end: int) -> None:
        """Mark ``[start, end)`` (bytes, block aligned): its member I/O is over."""
        written = self.of(inode)
        for low, high in written.gaps(start, end):
            inode.fresh.add(low, high)
        if self._table.attach(inode) and not inode.failed:
            self._set_bits(inode, start, end)
        written.add(start, end)

    def _set_bits(self, inode: Inode, start: int, end: int) -> None:
        for low, high, extent in self._slow.ranges(inode.ino, start, end):
            if extent is None:
                continue
            pair = self.pair(inode, extent)
            if pair is not None:
                first, last = (low - pair.offset) // BLOCK, (high - pair.offset) // BLOCK
                helpers().mark(pair.written, pair.fresh, first, last)

    def pair(self, inode: Inode, extent: Extent) -> Pair | None:
        """Return the bitmaps of an attached inode's *extent*.

        None when all of it is written and nothing of it fresh, or when there is no room.
        """
        found = inode.pairs.get(extent.offset)
        if found is not None:
            return found
        written = self.of(inode)
        if written.contains(extent.offset, extent.end) and not inode.fresh.overlaps(
            extent.offset, extent.end
        ):
            return None
        pair = self._shared.add_pair(inode.entry, extent.offset, extent.length // BLOCK)
        if pair is None:
            return None
        _fill(pair, pair.written, written.intersect(extent.offset, extent.end))
        _fill(pair, pair.fresh, inode.fresh.intersect(extent.offset, extent.end))
        inode.pairs[extent.offset] = pair
        return pair

    def is_whole(self, inode: Inode, extent: Extent) -> bool:
        """Tell whether every block of *extent* is written."""
        return self.of(inode).contains(extent.offset, extent.end)

    def settle(self, inode: Inode, marks: RangeSet) -> None:
        """The store has *marks*: they are fresh no more."""
        for pair in inode.pairs.values():
            for start, end in marks.intersect(pair.offset, pair.offset + pair.nr_blocks * BLOCK):
                _clear(pair, pair.fresh, start, end)

    def disown(self, inode: Inode) -> None:
        """A flush of its data failed: nobody takes over marks that may rest on nothing."""
        for pair in inode.pairs.values():
            helpers().unmark(pair.fresh, 0, pair.nr_blocks)

    def cut(self, inode: Inode, start: int, end: int) -> None:
        """Clear ``[start, end)`` (bytes, block aligned); the inode is held, no lane sees it."""
        self.of(inode).remove(start, end)
        inode.fresh.remove(start, end)
        for pair in inode.pairs.values():
            _clear(pair, pair.fresh, start, end)
            _clear(pair, pair.written, start, end)

    def move(self, inode: Inode, before: Extent, after: Extent) -> None:
        """What *before*'s bitmaps say of *after*, the rest of it, stands in bitmaps of its own.

        Fresh bits are copied one by one: some may be on their way into the store.
        """
        old = inode.pairs.get(before.offset)
        if old is None:
            return
        new = self._shared.add_pair(inode.entry, after.offset, after.length // BLOCK)
        if new is None:
            return  # only what a killed server leaves behind becomes less
        inode.pairs[after.offset] = new
        _fill(new, new.written, self.of(inode).intersect(after.offset, after.end))
        for first, last in runs(old.fresh, old.nr_blocks, self._out):
            _fill(new, new.fresh, [(old.offset + first * BLOCK, old.offset + last * BLOCK)])

    def replace(self, inode: Inode, before: Iterable[Extent], after: Iterable[Extent]) -> None:
        """*after* take the place of *before* in the file: what is fresh there stays so.

        No lane sees any of them.  The new bitmaps are there before the old ones go, so whoever
        comes after a killed server finds each fresh bit in one of them or in both.
        """
        written = self.of(inode)
        old = [inode.pairs.pop(e.offset) for e in before if e.offset in inode.pairs]
        fresh = RangeSet(
            (pair.offset + first * BLOCK, pair.offset + last * BLOCK)
            for pair in old
            for first, last in runs(pair.fresh, pair.nr_blocks, self._out)
        )
        for extent in after:
            if not fresh.overlaps(extent.offset, extent.end):
                continue  # made when it is asked for
            new = self._shared.add_pair(inode.entry, extent.offset, extent.length // BLOCK)
            if new is not None:  # else only what a killed server leaves behind becomes less
                _fill(new, new.written, written.intersect(extent.offset, extent.end))
                _fill(new, new.fresh, fresh.intersect(extent.offset, extent.end))
                inode.pairs[extent.offset] = new
        for pair in old:
            self._shared.drop_pair(inode.entry, pair)

    def drop(self, inode: Inode, extents: Iterable[Extent]) -> None:
        """Give back the bitmaps of *extents*, which are gone; no lane sees them."""
        for extent in extents:
            pair = inode.pairs.pop(extent.offset, None)
            if pair is not None:
                self._shared.drop_pair(inode.entry, pair)

    def drop_all(self, inode: Inode) -> None:
        """Give back all bitmaps of an inode that loses its entry; no lane sees them."""
        for pair in inode.pairs.values():
            self._shared.drop_pair(inode.entry, pair)
        inode.pairs.clear()


def _span(pair: Pair, start: int, end: int) -> tuple[int, int]:
    """Return the bits of *pair* that ``[start, end)`` meets; empty when the first is not less."""
    first = max(0, (start - pair.offset) // BLOCK)
    return first, min(pair.nr_blocks, (end - pair.offset) // BLOCK)


def _fill(pair: Pair, bitmap: int, ranges: Iterable[Range]) -> None:
    for start, end in ranges:
        helpers().mark(bitmap, bitmap, *_span(pair, start, end))


def _clear(pair: Pair, bitmap: int, start: int, end: int) -> None:
    helpers().unmark(bitmap, *_span(pair, start, end))
