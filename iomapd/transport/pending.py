# SPDX-License-Identifier: MIT
"""Which requests are on their way: one word per slot, written before the request is forwarded.

A word is the request's unique, plus one when the request opens a file: since Linux 4.20
uniques of requests are even (FUSE_INT_REQ_BIT marks interrupts).  Zero is an empty slot.

The table answers two questions: is this reply the reply to an OPEN or CREATE, and who still
waits when a mount is given up.  It is direct-mapped and has no locks, so a request that waits while
4096 others pass can lose its word; it loses the edit of its reply and the error at the end,
never more.  One word makes that true: there is no moment at which half of it is another's.
"""

from __future__ import annotations

from typing import Final

from iomapd.native.memory import load_acquire, store_release
from iomapd.transport.block import PENDING_SLOTS

OPENS: Final = 1
_SLOT_MASK: Final = PENDING_SLOTS - 1

UNKNOWN: Final = -1  # not in the table
PLAIN: Final = 2  # on its way, opens nothing
OPENING: Final = 3  # on its way, OPEN or CREATE


def remember(table: int, unique: int, opens: int) -> None:
    """Note that request *unique* is about to be forwarded.

    Args:
        table: address of the table.
        unique: of the request, even; an odd one is not noted.
        opens: OPENS for OPEN and CREATE, else 0.
    """
    if unique & 1 == 0:
        store_release(table + 8 * ((unique >> 1) & _SLOT_MASK), unique | opens)


def settle(table: int, unique: int) -> int:
    """Take request *unique* out of the table; its reply is here.

    Returns:
        PLAIN or OPENING, or UNKNOWN when its word was lost.
    """
    slot = table + 8 * ((unique >> 1) & _SLOT_MASK)
    word = load_acquire(slot)
    if word & ~OPENS != unique:
        return UNKNOWN
    store_release(slot, 0)
    return OPENING if word & OPENS else PLAIN


def outstanding(table: int) -> list[int]:
    """Take every request out of the table and return their uniques.

    For Python, after the relays have ended; not compiled.
    """
    found = []
    for slot in range(table, table + 8 * PENDING_SLOTS, 8):
        if word := load_acquire(slot):
            store_release(slot, 0)
            found.append(word & ~OPENS)
    return found
