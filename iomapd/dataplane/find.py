# SPDX-License-Identifier: MIT
"""Find, program, check: from a range inside one extent to checked member ranges.

The one loop that answers "where are these bytes?", for the compiled lanes and for
the Python path alike; interpreted, it is its own oracle.  An extent lies in memory
as 64-bit signed words:

    WORD  FIELD         MEANING
       0  offset        file offset of the extent, bytes
       1  length        what it owns of the file, bytes: strip_alloc * nr_strips
       2  unit          stripe unit, bytes
       3  nr_strips
       4  strip_length  bytes of a strip as the program sees it, fixed for life
       5  strip_alloc   bytes of a strip that are owned
       6  seed          the ino that made the extent
       7  program       address of the compiled program; 0 = the built-in raid0 formula
    8-15  p0..p7        the layout's parameters
      16  marks         address of the written bitmap, see `cache.marks`; 0 = all written
      17  fresh         address of the fresh bitmap; 0 = none
     18-  strips        (member id, addr in its data area) per strip

and a piece of the answer as four: member, addr, start, end (file positions).

A program is asked at 4 KiB-aligned positions only; the rest of an unaligned
position is added here.  Its answer is input: strip, address and length are
checked before anything is done with them (design: a program reaches only its own
file's space).
"""

from __future__ import annotations

from typing import Final

from iomapd.abi import HANDLED
from iomapd.abi.program import (
    CTX_ADDR,
    CTX_COUNT,
    CTX_LENGTH,
    CTX_NR_STRIPS,
    CTX_P0,
    CTX_POS,
    CTX_SEED,
    CTX_STRIP,
    CTX_STRIP_LENGTH,
    CTX_UNIT,
    NR_PARAMS,
    WORD,
)
from iomapd.abi.units import BLOCK
from iomapd.geometry.stripes import locate
from iomapd.native.calls import call1
from iomapd.native.memory import load64, store64

OFFSET: Final = 0
LENGTH: Final = 8
UNIT: Final = 16
NR_STRIPS: Final = 24
STRIP_LENGTH: Final = 32
STRIP_ALLOC: Final = 40
SEED: Final = 48
PROGRAM: Final = 56
PARAMS: Final = 64
MARKS: Final = 128
FRESH: Final = 136
STRIPS: Final = 144

STRIP_SIZE: Final = 16
PIECE_SIZE: Final = 32

# What is wrong with an answer; a count of pieces is positive, and zero is what a
# compiled function that crashed returns.
FELL_BACK: Final = -2
BAD_STRIP: Final = -3
BAD_ADDR: Final = -4
BAD_LENGTH: Final = -5
OUTSIDE: Final = -6

REASONS: Final = {
    0: "crashed",
    FELL_BACK: "does not map this position",
    BAD_STRIP: "answered a strip that does not exist",
    BAD_ADDR: "answered an address outside its strip, or not a multiple of 4096",
    BAD_LENGTH: "answered a length that is not a positive multiple of 4096",
    OUTSIDE: "was asked outside the extent",
}


def map_range(extent: int, pos: int, end: int, ctx: int, out: int, room: int) -> int:
    """Map ``[pos, end)`` of one extent.

    Args:
        extent: address of the extent's words.
        pos: file position, bytes; any alignment.
        end: one past the last byte; both inside the extent.
        ctx: address of a ctx record, 256 bytes, this caller's own.
        out: address of room for pieces.
        room: how many pieces fit there; > 0.

    Returns:
        The number of pieces written: they cover a prefix of the range, all of it
        unless *room* ran out.  Or one of `REASONS`.
    """
    offset = load64(extent + OFFSET)
    if pos < offset or end > offset + load64(extent + LENGTH) or pos >= end:
        return OUTSIDE
    prepare(extent, ctx)
    count = 0
    while pos < end and count < room:
        inside = pos - offset
        within = inside % BLOCK
        status = ask(extent, ctx, inside - within)
        if status != HANDLED:
            return status
        run = load64(ctx + CTX_LENGTH) - within
        piece_end = min(end, pos + run)
        home = extent + STRIPS + load64(ctx + CTX_STRIP) * STRIP_SIZE
        piece = out + count * PIECE_SIZE
        store64(piece, load64(home))
        store64(piece + 8, load64(home + 8) + load64(ctx + CTX_ADDR) + within)
        store64(piece + 16, pos)
        store64(piece + 24, piece_end)
        pos = piece_end
        count += 1
    return count


def prepare(extent: int, ctx: int) -> None:
    """Fill what is the same for every position of an extent."""
    store64(ctx + CTX_UNIT, load64(extent + UNIT))
    store64(ctx + CTX_NR_STRIPS, load64(extent + NR_STRIPS))
    store64(ctx + CTX_STRIP_LENGTH, load64(extent + STRIP_LENGTH))
    store64(ctx + CTX_SEED, load64(extent + SEED))
    for i in range(NR_PARAMS):
        store64(ctx + CTX_P0 + WORD * i, load64(extent + PARAMS + WORD * i))


def ask(extent: int, ctx: int, pos: int) -> int:
    """Answer one aligned position into *ctx* and check the answer; HANDLED, or what is wrong."""
    nr_strips = load64(extent + NR_STRIPS)
    count = load64(extent + STRIP_LENGTH) * nr_strips - pos
    store64(ctx + CTX_POS, pos)
    store64(ctx + CTX_COUNT, count)
    store64(ctx + CTX_STRIP, 0)
    store64(ctx + CTX_ADDR, 0)
    store64(ctx + CTX_LENGTH, 0)
    program = load64(extent + PROGRAM)
    if nr_strips == 1:
        # One strip is linear and asks nobody.
        store64(ctx + CTX_ADDR, pos)
        store64(ctx + CTX_LENGTH, count)
    elif program == 0:
        strip, addr, run = locate(pos, load64(extent + UNIT), nr_strips)
        store64(ctx + CTX_STRIP, strip)
        store64(ctx + CTX_ADDR, addr)
        store64(ctx + CTX_LENGTH, run)
    elif call1(program, ctx) != HANDLED:
        return FELL_BACK
    return check(extent, ctx, nr_strips, count)


def check(extent: int, ctx: int, nr_strips: int, count: int) -> int:
    """Check strip, address and length in *ctx*; clip the length to what is owned."""
    strip = load64(ctx + CTX_STRIP)
    addr = load64(ctx + CTX_ADDR)
    length = load64(ctx + CTX_LENGTH)
    if strip < 0 or strip >= nr_strips:
        return BAD_STRIP
    owned = load64(extent + STRIP_ALLOC)
    # The span, not the start, and in an order that cannot overflow.
    if addr < 0 or addr % BLOCK != 0 or addr > owned - BLOCK:
        return BAD_ADDR
    if length <= 0 or length % BLOCK != 0:
        return BAD_LENGTH
    store64(ctx + CTX_LENGTH, min(length, count, owned - addr))
    return HANDLED
