# SPDX-License-Identifier: MIT
"""Publishing extents to lanes: one immutable block per inode, replaced whole.

What the cache knows of an inode around a position becomes an extent block (`cache.entry`), its
address goes into the inode's entry with one store.  The block before it is retired: it stays
until no slot shows the inode, since a lane may still be reading it.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final, NamedTuple

from iomapd.cache.compiled import helpers
from iomapd.cache.entry import COOKIE, EXTENTS, PLACES
from iomapd.control.hints import FOLLOWED
from iomapd.control.places import PLACES_PUBLISHED, PlaceTable

if TYPE_CHECKING:
    from iomapd.cache.board import SlotBoard
    from iomapd.cache.extents import ExtentCache, PlaceCache
    from iomapd.cache.inode import Inode
    from iomapd.cache.inodes import InodeTable
    from iomapd.cache.table import SharedTable
    from iomapd.control.marks import Marks

EXTENTS_PUBLISHED: Final = 1024
"""Bound of a block: a file with more extents is published a window at a time."""

_RETIRED: Final = 64  # retired blocks that make a sweep worth its look at the slots


class _Block(NamedTuple):
    """An extent block's words, and what they point to."""

    words: array[int]
    keep: list[object]


class Publisher:
    """Shows lanes what the cache knows.

    Args:
        table: gives inodes their entries.
        shared: where those lie.
        board: the lanes' slots.
        cache: known extents.
        marks: bitmaps of extents.
    """

    def __init__(
        self,
        table: InodeTable,
        shared: SharedTable,
        board: SlotBoard,
        cache: ExtentCache,
        marks: Marks,
    ) -> None:
        self._table = table
        self._shared = shared
        self._board = board
        self._cache = cache
        self._marks = marks
        self._shown: dict[tuple[int, int], object] = {}
        self._retired: list[tuple[int, object]] = []
        self.published = 0
        table.detached = self._forget

    def publish(self, inode: Inode, pos: int) -> bool:
        """Publish what is known around *pos* (bytes); False when lanes cannot serve it."""
        if not self._table.attach(inode):
            return False
        triples: list[int] = []
        keep: list[object] = []
        covered = False
        for known in self._cache.around(inode.ino, pos, EXTENTS_PUBLISHED):
            words = 0
            if known.extent is not None:
                pair = self._marks.pair(inode, known.extent)
                if pair is None and not self._marks.is_whole(inode, known.extent):
                    continue  # no room for its marks
                known.words.set_marks(*(pair[3:] if pair else (0, 0)))
                keep.append(known.words)
                words = known.words.addr
            triples += (known.offset, known.end, words)
            covered |= known.offset <= pos < known.end
        block = array("q", [len(triples) // 3, *triples])
        self._replace(inode, EXTENTS, _Block(block, keep), block.buffer_info()[0])
        self.published += 1
        return covered

    def renew(self, inode: Inode, pos: int) -> None:
        """Extents were made around *pos*: lanes that were shown a hole there are shown them."""
        if (inode.ino, EXTENTS) in self._shown:
            self.publish(inode, pos)

    def unpublish(self, inode: Inode) -> None:
        """Show lanes nothing of *inode*; it is held, or what goes is not in use."""
        if inode.entry:
            self._replace(inode, EXTENTS, None, 0)
            self._replace(inode, PLACES, None, 0)
            inode.words[COOKIE // 8] = self._shared.new_cookie()

    def publish_places(self, inode: Inode, places: PlaceCache, start: int, end: int) -> None:
        """Publish the member-level records of ``[start, end)`` (bytes), and what was shown.

        Records that adjoin them, which hints have left there, go with them.
        """
        end = places.reach(inode.ino, end, FOLLOWED)
        known = self._shown.get((inode.ino, PLACES))
        fresh = places.between(inode.ino, start, end)
        if isinstance(known, PlaceTable) and known.append(fresh):
            return
        table = PlaceTable(places.around(inode.ino, start, PLACES_PUBLISHED))
        self._replace(inode, PLACES, table, table.addr)

    def drop_places(self, ino: int) -> None:
        """Show lanes no member-level record of *ino*, so that they miss what was dropped."""
        inode = self._table.get(ino) if (ino, PLACES) in self._shown else None
        if inode is not None:
            self._replace(inode, PLACES, None, 0)

    def _replace(self, inode: Inode, field: int, block: object, addr: int) -> None:
        before = self._shown.pop((inode.ino, field), None)
        helpers().put(inode.entry + field, addr)
        if block is not None:
            self._shown[inode.ino, field] = block
        if before is not None:
            self._retired.append((inode.ino, before))
            if len(self._retired) >= _RETIRED:
                self.sweep()

    def sweep(self) -> None:
        """Drop retired blocks that no lane can be reading any more."""
        self._retired = [(ino, block) for ino, block in self._retired if self._board.shows(ino)]

    def _forget(self, inode: Inode) -> None:
        """The inode is about to lose its entry; no lane works on it."""
        self.unpublish(inode)
        self._marks.drop_all(inode)
