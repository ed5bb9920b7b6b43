# SPDX-License-Identifier: MIT
"""An inode in use, and the table of them: the home of size, times and content marks.

While an inode is in the table these live only here; the store gets them at a
durability point or when they go down (truncate).  Three numbers are kept apart:

    size         what applications see
    stored_size  what the store says: never above data that is not durable
    fresh        marks younger than the last durability point's copy
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from iomapd.geometry.ranges import RangeSet

if TYPE_CHECKING:
    from collections.abc import Callable

    from iomapd.meta.records import InodeRecord

DEFAULT_CLEAN: Final = 16_384  # clean inodes kept besides those in use


class Inode:
    """One inode in use.

    Attributes:
        written: blocks that hold data, bytes rounded to blocks; None = not loaded.
        fresh: the part of *written* no durability point has copied yet.
        touched: ids of members with completed writes that are not flushed.
        changed: something differs from the store; set by `note_change`.
        opens: open file handles.
        slots: requests that work on it; held: somebody waits for none to.
        in_point: a durability point has copied it and not committed yet.
        ahead: it owns speculative extents, to be trimmed at last close.
        failed: a flush of its data failed; fsync keeps failing until remount.
    """

    __slots__ = (
        "_dirty", "ahead", "atime_ns", "btime_ns", "changed", "ctime_ns", "failed",
        "first_writes", "fresh", "gid", "has_capability", "held", "in_point", "ino", "layout",
        "mode", "mtime_ns", "nlink", "opens", "rdev", "size", "slots", "stored_size", "touched",
        "uid", "waiting", "written",
    )  # fmt: skip

    ino: int
    mode: int
    uid: int
    gid: int
    nlink: int
    rdev: int
    size: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    btime_ns: int
    layout: int

    def __init__(self, record: InodeRecord, dirty: set[Inode]) -> None:
        self._dirty = dirty
        for name in record.__slots__:
            setattr(self, name, getattr(record, name))
        self.stored_size = record.size
        self.written: RangeSet | None = None
        self.fresh = RangeSet()
        self.touched: set[int] = set()
        self.changed = False
        self.in_point = False
        self.ahead = False
        self.failed = False
        self.has_capability: bool | None = None
        self.opens = 0
        self.slots = 0
        self.held = False
        # Owned by control/: what tasks wait on, and first writes under way.
        self.waiting: object = None
        self.first_writes: list[tuple[int, int, bool, object]] = []

    def note_change(self) -> None:
        """Size, times, marks or touched members changed: the next point has to look here."""
        self.changed = True
        self._dirty.add(self)

    @property
    def is_dirty(self) -> bool:
        """Tell whether a durability point has something to copy."""
        return self.changed or bool(self.touched) or bool(self.fresh)

    @property
    def is_in_use(self) -> bool:
        """Tell whether the inode must stay in the table."""
        return (
            bool(self.opens or self.slots or self.held or self.in_point or self.failed)
            or self.is_dirty
        )


class InodeTable:
    """Inodes in use, plus a bounded number of clean ones, least recently used first out.

    Args:
        load: returns the stored record of an ino, or None.
        max_clean: clean inodes kept.
    """

    def __init__(
        self, load: Callable[[int], InodeRecord | None], max_clean: int = DEFAULT_CLEAN
    ) -> None:
        self._load = load
        self._max_clean = max_clean
        self._inodes: OrderedDict[int, Inode] = OrderedDict()
        self._dirty: set[Inode] = set()
        self.evictions = 0

    def __len__(self) -> int:
        return len(self._inodes)

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
        """Forget an inode that no longer exists."""
        inode = self._inodes.pop(ino, None)
        if inode is not None:
            self._dirty.discard(inode)

    def has_dirty(self) -> bool:
        """Tell whether a durability point has something to copy."""
        return bool(self._dirty)

    def take_dirty(self) -> list[Inode]:
        """Hand the changed inodes to a durability point."""
        taken = [inode for inode in self._dirty if inode.is_dirty]
        self._dirty.clear()
        return taken

    def _evict(self) -> None:
        # One look at the oldest few: those in use move to the young end, so a
        # table full of open files costs no scan per look-up.
        for _ in range(4):
            ino, inode = next(iter(self._inodes.items()))
            if inode.is_in_use:
                self._inodes.move_to_end(ino)
                continue
            del self._inodes[ino]
            self.evictions += 1
            return
