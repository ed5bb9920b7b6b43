# SPDX-License-Identifier: MIT
"""Member-level records for lanes, in the strategy ``cache``: one sorted table per inode.

    word 0      count
    then        start, end (file positions), member, addr, per record; bytes

A file read from its start appends: a record is written behind the last, then the count rises, so
a lane sees a whole table at every instant.  Everything else makes a new table.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

from iomapd.cache.compiled import helpers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iomapd.cache.extents import Placed

PLACES_PUBLISHED: Final = 1 << 18
"""Bound of a table: 8 MiB; beyond it a window around the last miss is published."""

_FIRST: Final = 1024
_WORDS: Final = 4


class PlaceTable:
    """One inode's records as lanes read them.

    Attributes:
        addr: of the table.
        end: one past the last record's file range, bytes.
    """

    def __init__(self, records: Sequence[Placed]) -> None:
        room = max(_FIRST, 2 * len(records))
        self._words = array("q", bytes(8 * (1 + room * _WORDS)))
        self.addr = self._words.buffer_info()[0]
        self._count = 0
        self.end = 0
        self.append(records)

    def append(self, records: Sequence[Placed]) -> bool:
        """Append *records* in file order, none before `end`; False when there is no room."""
        at = 1 + self._count * _WORDS
        flat = array("q", [w for r in records for w in (r.offset, r.end, r.member, r.addr)])
        if at + len(flat) > len(self._words) or (records and records[0].offset < self.end):
            return False
        self._words[at : at + len(flat)] = flat
        self._count += len(records)
        self.end = records[-1].end if records else self.end
        helpers().put(self.addr, self._count)
        return True
