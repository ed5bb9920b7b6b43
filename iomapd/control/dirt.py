# SPDX-License-Identifier: MIT
"""How much a power cut would take: what was done since a durability point took its last copy.

Counted are bytes written, new ones and overwritten ones alike, and bytes freed, which nobody gets
before a point.  Lanes count what they write anyway; so a look adds up a few words, and no
bitmap is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from iomapd.control.freespace import FreeSpace
    from iomapd.control.member_io import MemberIO

# What a disk of 200 MB/s writes in the 5 s between two points: there the clock decides, as it would
# without this bound; faster members are flushed after so many bytes.  Less would make
# flushes follow each other for no gain: a point must wait for the device in any case.
ENOUGH: Final = 1 << 30


def _no_lanes() -> int:
    return 0


class Dirt:
    """Counts for the points of one mount.

    Args:
        io: the control plane's member I/O.
        space: where freed space is held.

    Attributes:
        written_by_lanes: returns the bytes that lanes have written since the mount.
    """

    def __init__(self, io: MemberIO, space: FreeSpace) -> None:
        self._io = io
        self._space = space
        self._taken = 0
        self.written_by_lanes: Callable[[], int] = _no_lanes

    def _all(self) -> int:
        written = sum(counters.written_bytes for counters in self._io.counters().values())
        return written + self.written_by_lanes() + self._space.ever_held

    def taken(self) -> None:
        """A point takes its copy: what comes after it is dirt again, whether it succeeds or not."""
        self._taken = self._all()

    def is_enough(self) -> bool:
        """Tell whether a point is worth its I/O before its time."""
        return self._all() - self._taken >= ENOUGH
