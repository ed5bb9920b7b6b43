# SPDX-License-Identifier: MIT
"""What a range of a file holds, as its extents and their content marks tell.

An extent without a bitmap is written, all of it; a hole, and a block whose mark is not set, hold
zeros.  Marks come to be between any two looks, and never go while the inode is shown.
"""

from __future__ import annotations

from typing import Final

from iomapd.abi.units import BLOCK
from iomapd.cache.entry import find_extent
from iomapd.cache.marks import first_block, last_block, mark, next_set
from iomapd.mapping.walk import FRESH, MARKS, OFFSET
from iomapd.native.memory import load64

# What is known of a block's content.
WRITTEN: Final = 1
UNWRITTEN: Final = 2
UNKNOWN: Final = 3


def find_triple(extents: int, pos: int) -> int:
    """Return the triple that covers *pos* in the extent block at *extents*, or 0."""
    return find_extent(extents, pos) if extents != 0 else 0


def content_at(extents: int, pos: int) -> int:
    """Tell what is known of the block at file position *pos*: WRITTEN, UNWRITTEN or UNKNOWN."""
    triple = find_triple(extents, pos)
    if triple == 0:
        return UNKNOWN
    words = load64(triple + 16)
    if words == 0:
        return UNWRITTEN
    written = load64(words + MARKS)
    if written == 0:
        return WRITTEN
    block = first_block(load64(words + OFFSET), pos)
    return WRITTEN if next_set(written, block, block + 1) == block else UNWRITTEN


def leaves_gap(extents: int, size: int, pos: int) -> bool:
    """Tell whether a size beyond *pos* would uncover stale bytes of the last block."""
    return pos > size and size % BLOCK != 0 and content_at(extents, size) != UNWRITTEN


def fills_part(extents: int, pos: int, end: int) -> bool:
    """Tell whether a write would fill a part of a block that is not written."""
    return (pos % BLOCK != 0 and content_at(extents, pos) != WRITTEN) or (
        end % BLOCK != 0 and content_at(extents, end - 1) != WRITTEN
    )


def mark_written(extents: int, pos: int, end: int) -> int:
    """Set the marks of [pos, end), whose first and last block are whole or marked already.

    Returns:
        How many words of bitmaps had news.
    """
    news = 0
    while pos < end:
        triple = find_triple(extents, pos)
        stop = min(end, load64(triple + 8))
        words = load64(triple + 16)
        written = load64(words + MARKS)
        if written != 0:
            offset = load64(words + OFFSET)
            first = first_block(offset, pos)
            news += mark(written, load64(words + FRESH), first, last_block(offset, stop)) - 1
        pos = stop
    return news
