# SPDX-License-Identifier: MIT
"""An inode in use: the home of size, times and content marks.

While an inode is here these live only here; the store gets them at a durability point or when
they go down (truncate).  Three numbers are kept apart:

    size         what applications see
    stored_size  what the store says: never above data that is not durable
    fresh        marks younger than the last durability point's copy

Size, times and touched members lie in *words* laid out as an entry of the shared table
(`entry`).  They are memory of its own until the inode is attached; then they *are* its entry,
which lanes read and change at any time.  Marks that lanes set are absorbed from the entry's
bitmaps before anybody here looks (`control.marks`).
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

from iomapd.cache.compiled import helpers
from iomapd.cache.entry import (
    ATIME,
    CTIME,
    DIRTY,
    ENTRY_SIZE,
    FLAGS,
    FORWARD_WRITES,
    INO,
    MARKED,
    MTIME,
    NOT_SHRINKING,
    SHRINK,
    SIZE,
    TOUCHED,
)
from iomapd.geometry.ranges import RangeSet

if TYPE_CHECKING:
    from iomapd.cache.table import Pair
    from iomapd.meta.records import InodeRecord

_SIZE: Final = SIZE // 8
_ATIME: Final = ATIME // 8
_MTIME: Final = MTIME // 8
_CTIME: Final = CTIME // 8
_FLAGS: Final = FLAGS // 8
_TOUCHED: Final = TOUCHED // 8
_MARKED: Final = MARKED // 8
_DIRTY: Final = DIRTY // 8
_PRIVILEGES: Final = 0o6000  # S_ISUID, S_ISGID


class Inode:
    """One inode in use; times in ns since the epoch, sizes in bytes.

    Attributes:
        entry: address of its entry in the shared table; 0: no lane can see it.
        pairs: its bitmaps there, by the offset of their extent.
        written: blocks that hold data, bytes rounded to blocks; None = not loaded.
        fresh: the part of *written* no durability point has copied yet.
        changed: something differs from the store; set by `note_change`.
        opens: open file handles.
        slots: tasks that work on it; held: somebody waits for none to.
        lane_holds: how many want no lane to work on it.
        in_point: a durability point has copied it and not committed yet.
        ahead: it owns speculative extents, to be trimmed at last close.
        failed: a flush of its data failed; fsync keeps failing until remount.
    """

    __slots__ = (
        "_dirty", "_has_capability", "_mode", "ahead", "btime_ns", "changed", "entry", "failed",
        "first_writes", "fresh", "gid", "held", "in_point", "ino", "lane_holds", "layout",
        "nlink", "opens", "pairs", "rdev", "slots", "stored_size", "uid", "waiting", "words",
        "written",
    )  # fmt: skip

    def __init__(self, record: InodeRecord, dirty: set[Inode]) -> None:
        self._dirty = dirty
        self.words: memoryview[int] = private_words(record)
        self.entry = 0
        self.pairs: dict[int, Pair] = {}
        self.ino = record.ino
        self._mode = record.mode
        self.uid = record.uid
        self.gid = record.gid
        self.nlink = record.nlink
        self.rdev = record.rdev
        self.btime_ns = record.btime_ns
        self.layout = record.layout
        self.stored_size = record.size
        self.written: RangeSet | None = None
        self.fresh = RangeSet()
        self.changed = False
        self.in_point = False
        self.ahead = False
        self.failed = False
        self._has_capability: bool | None = None
        self.opens = 0
        self.slots = 0
        self.held = False
        self.lane_holds = 0
        # Owned by control/: what tasks wait on, and first writes under way.
        self.waiting: object = None
        self.first_writes: list[tuple[int, int, bool, object]] = []

    # -- what lanes change too

    @property
    def size(self) -> int:
        """What applications see, bytes."""
        return self.words[_SIZE]

    @size.setter
    def size(self, value: int) -> None:
        """Set it; only while nobody can raise it."""
        self.words[_SIZE] = value

    def raise_size(self, end: int) -> None:
        """Raise the size to at least *end*, whoever else does so."""
        if self.entry:
            helpers().raise_to(self.entry + SIZE, end)
        else:
            self.words[_SIZE] = max(self.words[_SIZE], end)

    @property
    def atime_ns(self) -> int:
        """When it was last read, as relatime has it."""
        return self.words[_ATIME]

    @atime_ns.setter
    def atime_ns(self, value: int) -> None:
        self.words[_ATIME] = value

    @property
    def mtime_ns(self) -> int:
        """When its content last changed."""
        return self.words[_MTIME]

    @mtime_ns.setter
    def mtime_ns(self, value: int) -> None:
        self.words[_MTIME] = value

    @property
    def ctime_ns(self) -> int:
        """When anything of it last changed."""
        return self.words[_CTIME]

    @ctime_ns.setter
    def ctime_ns(self, value: int) -> None:
        self.words[_CTIME] = value

    @property
    def touched(self) -> int:
        """Members with completed writes that are not flushed, a bit each by `Core.bit_of`."""
        return self.words[_TOUCHED]

    def touch_members(self, bits: int) -> None:
        """Add members to *touched*."""
        if self.entry:
            helpers().add_bits(self.entry + TOUCHED, bits)
        else:
            self.words[_TOUCHED] |= bits

    def take_touched(self) -> int:
        """Return *touched* and clear it, in one step."""
        if self.entry:
            return helpers().take(self.entry + TOUCHED)
        bits, self.words[_TOUCHED] = self.words[_TOUCHED], 0
        return bits

    # -- what decides whether lanes may write

    @property
    def mode(self) -> int:
        """Type and permissions."""
        return self._mode

    @mode.setter
    def mode(self, value: int) -> None:
        self._mode = value
        self.decide_lanes()

    @property
    def has_capability(self) -> bool | None:
        """Whether it has file capabilities, which a write must drop; None = not known."""
        return self._has_capability

    @has_capability.setter
    def has_capability(self, value: bool | None) -> None:
        self._has_capability = value
        self.decide_lanes()

    def fail(self) -> None:
        """A flush of its data failed: lanes acknowledge no write to it any more."""
        self.failed = True
        self.decide_lanes()

    def decide_lanes(self) -> None:
        """Forward writes that have something to clear, or no way to become durable."""
        forward = self.failed or self._mode & _PRIVILEGES or self._has_capability is not False
        self.words[_FLAGS] = FORWARD_WRITES if forward else 0

    # -- state

    def note_change(self) -> None:
        """Size, times, marks or touched members changed: the next point has to look here."""
        self.changed = True
        self._dirty.add(self)

    @property
    def is_dirty(self) -> bool:
        """Tell whether a durability point has something to copy."""
        words = self.words
        return (
            self.changed
            or bool(words[_TOUCHED] or words[_DIRTY] or words[_MARKED])
            or bool(self.fresh)
        )

    @property
    def is_in_use(self) -> bool:
        """Tell whether the inode must stay where it is."""
        return bool(self.opens) or self.is_busy

    @property
    def is_busy(self) -> bool:
        """Tell whether its entry must stay: it is worked on, or the store lacks something."""
        return (
            bool(self.slots or self.held or self.lane_holds or self.in_point or self.failed)
            or self.is_dirty
        )


def private_words(source: InodeRecord | Inode) -> memoryview[int]:
    """Return words of an entry that only this process has."""
    words = memoryview(array("q", bytes(ENTRY_SIZE)))
    words[INO // 8] = source.ino
    words[_SIZE] = source.size
    words[_ATIME] = source.atime_ns
    words[_MTIME] = source.mtime_ns
    words[_CTIME] = source.ctime_ns
    words[SHRINK // 8] = NOT_SHRINKING
    return words
