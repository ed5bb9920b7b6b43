# SPDX-License-Identifier: MIT
"""The board of slots: which inodes lanes work on right now.

Slots belong to a server and end with it; so they lie in its own memory, beside the table that
outlives it.
"""

from __future__ import annotations

from iomapd.cache.compiled import helpers
from iomapd.cache.entry import SHOWN, SLOT_SIZE
from iomapd.native.region import Region


class SlotBoard:
    """Slots of one mount's lanes.

    Args:
        nr_slots: one per request that lanes may have under way.
        addr: where somebody else keeps them; 0: here.

    Attributes:
        addr: address of the first slot.
        nr_slots: how many there are.
    """

    def __init__(self, nr_slots: int = 0, addr: int = 0) -> None:
        self.nr_slots = nr_slots
        self._region = None if addr else Region(max(1, nr_slots) * SLOT_SIZE)
        self.addr = self._region.addr if self._region else addr

    def slot(self, index: int) -> int:
        """Return the address of slot *index*."""
        return self.addr + index * SLOT_SIZE

    def shows(self, ino: int) -> bool:
        """Tell whether a lane works on *ino*; exact only for who holds it."""
        return helpers().is_shown(self.addr, self.nr_slots, ino) == SHOWN
