# SPDX-License-Identifier: MIT
"""Content marks as bitmaps, one pair per extent that is not fully written.

    OFFSET  FIELD      MEANING
         0  ino        whose marks
         8  offset     file offset of bit 0, bytes; a multiple of 4 KiB
        16  nr_blocks  bits
        24  next       arena offset of the inode's next pair, 0 = none
        32  -          reserved, zero, to 64
        64  written    one bit per 4 KiB block of the file, rounded up to 64 bytes
         ?  fresh      the same again: written, and not yet put into the store

A bit is set after its member I/O is over, never before: what reads the block from then on reads
new data.  ``fresh`` first: it is what a killed server leaves to the next, and who finds a
block written by somebody else must find it fresh too.  Its bits go only when the store has
them.  Bits are set by atomic operations, since lanes share words.
"""

from __future__ import annotations

from typing import Final

from iomapd.abi.units import BLOCK
from iomapd.native.bits import trailing_zeros
from iomapd.native.memory import fetch_and, fetch_or, load64, load_acquire, store64

PAIR_INO: Final = 0
PAIR_OFFSET: Final = 8
PAIR_BLOCKS: Final = 16
PAIR_NEXT: Final = 24
PAIR_HEADER: Final = 64
LINE: Final = 64

NONE: Final = -1
DONE: Final = 1


def bitmap_size(nr_blocks: int) -> int:
    """Return the bytes of one bitmap of *nr_blocks* bits."""
    return (nr_blocks + 8 * LINE - 1) // (8 * LINE) * LINE


def mask_of(first: int, last: int) -> int:
    """Return a word with bits [first, last) set, ``0 <= first < last <= 64``."""
    below_last = -1 if last == 64 else ~(-1 << last)
    return below_last & (-1 << first)


def mark(written: int, fresh: int, first: int, last: int) -> int:
    """Set bits [first, last) in *written*, and in *fresh* those that were not set before.

    Returns:
        How many words have fresh bits of the range, plus one: never zero.  Another lane's too:
        it may not have told anybody yet, and this write is about to be acknowledged.
    """
    news = 1
    index = first
    while index < last:
        base = index & ~63
        mask = mask_of(index - base, min(last - base, 64))
        at = base >> 3
        missing = mask & ~load_acquire(written + at)
        if missing:
            fetch_or(fresh + at, missing)
            fetch_or(written + at, missing)
        if load64(fresh + at) & mask:
            news += 1
        index = base + 64
    return news


def unmark(bitmap: int, first: int, last: int) -> int:
    """Clear bits [first, last); DONE."""
    index = first
    while index < last:
        base = index & ~63
        fetch_and(bitmap + (base >> 3), ~mask_of(index - base, min(last - base, 64)))
        index = base + 64
    return DONE


def next_set(bitmap: int, first: int, last: int) -> int:
    """Return the first set bit in [first, last), or *last*."""
    return _next(bitmap, first, last, 0)


def next_clear(bitmap: int, first: int, last: int) -> int:
    """Return the first clear bit in [first, last), or *last*."""
    return _next(bitmap, first, last, -1)


def _next(bitmap: int, first: int, last: int, flip: int) -> int:
    index = first
    while index < last:
        base = index & ~63
        word = (load64(bitmap + (base >> 3)) ^ flip) & mask_of(index - base, 64)
        if word != 0:
            return min(base + trailing_zeros(word), last)
        index = base + 64
    return last


def first_block(offset: int, pos: int) -> int:
    """Return the bit of the block that holds file position *pos*."""
    return (pos - offset) // BLOCK


def last_block(offset: int, end: int) -> int:
    """Return one past the bit of the block that holds the byte before *end*."""
    return (end - offset + BLOCK - 1) // BLOCK


def collect_runs(bitmap: int, first: int, last: int, out: int, room: int) -> int:
    """List runs of set bits in [first, last) as pairs (first bit, one past the last).

    Args:
        bitmap: its address.
        first: bit to begin at.
        last: bit to end before.
        out: address of room for pairs, 16 bytes each.
        room: how many pairs fit there, > 0.

    Returns:
        How many were written, plus one: never zero.  With *room* pairs there may be more.
    """
    count = 0
    start = next_set(bitmap, first, last)
    while start < last and count < room:
        end = next_clear(bitmap, start, last)
        store64(out + 16 * count, start)
        store64(out + 16 * count + 8, end)
        count += 1
        start = next_set(bitmap, end, last)
    return count + 1
