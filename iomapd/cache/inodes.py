# SPDX-License-Identifier: MIT
"""The inodes in use, plus a bounded number of clean ones, least recently used first out."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from iomapd.cache.inode import Inode, private_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from iomapd.cache.board import SlotBoard
    from iomapd.cache.table import SharedTable
    from iomapd.meta.records import InodeRecord

DEFAULT_CLEAN: Final = 16_384  # clean inodes kept besides those in use


class InodeTable:
    """Inodes by their number.

    Args:
        load: returns the stored record of an ino, or None.
        shared: the entries that lanes see.
        board: the lanes' slots.
        max_clean: clean inodes kept.

    Attributes:
        evictions: clean inodes dropped for others.
        overflows: inodes that found no room in the shared table.
        detached: called with an inode whose entry is about to go.
    """

    def __init__(
        self,
        load: Callable[[int], InodeRecord | None],
        shared: SharedTable,
        board: SlotBoard,
        max_clean: int = DEFAULT_CLEAN,
    ) -> None:
        self._load = load
        self._shared = shared
        self._board = board
        self._max_clean = max_clean
        self._inodes: OrderedDict[int, Inode] = OrderedDict()
        self._dirty: set[Inode] = set()
        self.evictions = 0
        self.overflows = 0
        self.detached: Callable[[Inode], None] = lambda _: None

    def __len__(self) -> int:
        return len(self._inodes)

    def __iter__(self) -> Iterator[Inode]:
        return iter(self._inodes.values())

    def peek(self, ino: int) -> Inode | None:
        """Return the inode if it is in the table."""
        return self._inodes.get(ino)

    def get(self, ino: int) -> Inode | None:
        """Return the inode, loaded from the store if needed; None if there is none."""
        inode = self._inodes.get(ino)
        if inode is None:
            record = self._load(ino)
            return self.add(record) if record is not None else None
        self._inodes.move_to_end(ino)
        return inode

    def add(self, record: InodeRecord) -> Inode:
        """Put a record just read or written into the table."""
        inode = self._inodes[record.ino] = Inode(record, self._dirty)
        if len(self._inodes) > self._max_clean:
            self._evict()
        return inode

    def drop(self, ino: int) -> None:
        """Forget an inode that no longer exists; no lane works on it."""
        inode = self._inodes.pop(ino, None)
        if inode is not None:
            self._dirty.discard(inode)
            if inode.entry:
                self._detach(inode)

    # -- entries in the shared table

    def attach(self, inode: Inode) -> bool:
        """Give *inode* an entry, at the cost of an idle one; False when there is no room."""
        if inode.entry:
            return True
        if self._inodes.get(inode.ino) is not inode:
            return False  # deleted while somebody waited for it
        entry = self._shared.attach(inode.ino, inode.words, inode.lane_holds)
        if entry is None and self._make_room(inode.ino):
            entry = self._shared.attach(inode.ino, inode.words, inode.lane_holds)
        if entry is None:
            self.overflows += 1
            return False
        inode.entry, inode.words = entry, self._shared.words(entry)
        inode.decide_lanes()
        return True

    def _make_room(self, ino: int) -> bool:
        for entry in self._shared.bucket(ino):
            idle = self._inodes[self._shared.words(entry)[0]]
            if not idle.is_busy and self._try_detach(idle):
                return True
        return False

    def _try_detach(self, inode: Inode) -> bool:
        """Take the entry of an idle inode unless a lane works on it at this very moment."""
        self._shared.hold(inode.entry)
        if self._board.shows(inode.ino) or inode.is_dirty:
            self._shared.release(inode.entry)
            return False
        self._detach(inode)
        return True

    def _detach(self, inode: Inode) -> None:
        self.detached(inode)
        entry, inode.entry = inode.entry, 0
        inode.words = private_words(inode)
        inode.decide_lanes()
        self._shared.detach(entry)

    # -- durability points

    def has_dirty(self) -> bool:
        """Tell whether a durability point has something to copy."""
        return bool(self._dirty) or self._shared.has_dirty()

    def take_dirty(self) -> list[Inode]:
        """Hand the changed inodes to a durability point."""
        for ino in self._shared.take_dirty():
            self._inodes[ino].note_change()
        taken = [inode for inode in self._dirty if inode.is_dirty]
        self._dirty.clear()
        return taken

    def _evict(self) -> None:
        # One look at the oldest few: those in use move to the young end, so a
        # table full of open files costs no scan per look-up.
        for _ in range(4):
            ino, inode = next(iter(self._inodes.items()))
            if inode.is_in_use or (inode.entry and not self._try_detach(inode)):
                self._inodes.move_to_end(ino)
                continue
            del self._inodes[ino]
            self.evictions += 1
            return
