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
      18  walk          address of the program's own `walk`; 0 = call the program by pointer
     19-  strips        (member id, addr in its data area) per strip

and a piece of the answer as four: member, addr, start, end (file positions).

A program is asked at 4 KiB-aligned positions only; the rest of an unaligned
position is added here.  Its answer is input: strip, address and length are
checked before anything is done with them (design: a program reaches only its own
file's space).

Who answers is exchangeable, see `walk_by`: a program behind a pointer, the built-in
formula, or a program that is compiled into the loop.  The last is three times as fast as the
first, because an answer that goes through memory has to wait for it.
"""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Final

from iomapd.abi import HANDLED
from iomapd.abi.program import (
    CTX_ADDR,
    CTX_LENGTH,
    CTX_NR_STRIPS,
    CTX_P0,
    CTX_SEED,
    CTX_STRIP,
    CTX_STRIP_LENGTH,
    CTX_UNIT,
    NR_PARAMS,
    WORD,
)
from iomapd.abi.units import BLOCK
from iomapd.mapping.proof import ask
from iomapd.native.bits import likely
from iomapd.native.memory import load64, load_constant, store64

if TYPE_CHECKING:
    from collections.abc import Callable

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
WALK: Final = 144
STRIPS: Final = 152

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


def walk(extent: int, ctx: int, pos: int, end: int, out: int, room: int) -> int:
    """Map ``[pos, end)`` of one extent.

    Args:
        extent: address of the extent's words.
        ctx: address of a ctx record, 256 bytes, this caller's own, after `prepare`; only
            `answer` looks at it.
        pos: file position, bytes; any alignment.
        end: one past the last byte; the range is not empty and inside the extent.
        out: address of room for pieces.
        room: how many pieces fit there; > 0.

    Returns:
        The number of pieces written: they cover a prefix of the range, all of it
        unless *room* ran out.  Or one of `REASONS`.
    """
    offset = load_constant(extent + OFFSET)
    nr_strips = load_constant(extent + NR_STRIPS)
    owned = load_constant(extent + STRIP_ALLOC)
    size = load_constant(extent + STRIP_LENGTH) * nr_strips
    within = (pos - offset) % BLOCK
    at = pos - offset - within
    stop = end - offset
    piece = out
    last_piece = out + (room - 1) * PIECE_SIZE
    # Most answers reach equally far and are good.  Such a one is recognised by a few comparisons,
    # and the next question waits for none of them: where it begins is expected, not answered.
    expected = last_at = last_addr = -1
    while True:
        status, strip, addr, length = answer(extent, ctx, at, size - at)
        if status != HANDLED:
            return FELL_BACK
        if not likely(
            length == expected
            and 0 <= strip < nr_strips
            and 0 <= addr <= last_addr
            and addr % BLOCK == 0
            and at <= last_at
        ):
            expected = check(extent, strip, addr, length, size - at)
            if expected < 0:
                return expected
            last_at, last_addr = size - expected, owned - expected
        after = at + expected
        home = extent + STRIPS + strip * STRIP_SIZE
        store64(piece, load_constant(home))
        store64(piece + 8, load_constant(home + 8) + addr + within)
        store64(piece + 16, offset + at + within)
        store64(piece + 24, offset + min(stop, after))
        if after >= stop or piece == last_piece:
            return (piece - out) // PIECE_SIZE + 1
        piece += PIECE_SIZE
        within = 0
        at = after


def answer(extent: int, ctx: int, pos: int, count: int) -> tuple[int, int, int, int]:
    """Ask the program behind the extent's pointer, which may leave hints in *ctx*.

    Args:
        extent: address of the extent's words.
        ctx: as of `walk`.
        pos: of a block, bytes from the extent's start.
        count: bytes from there to the extent's end.

    Returns:
        ``(status, strip, addr, length)``, unchecked.
    """
    store64(ctx + CTX_STRIP, 0)
    store64(ctx + CTX_ADDR, 0)
    store64(ctx + CTX_LENGTH, 0)
    status = ask(load64(extent + PROGRAM), ctx, pos, count)
    return status, load64(ctx + CTX_STRIP), load64(ctx + CTX_ADDR), load64(ctx + CTX_LENGTH)


def prepare(extent: int, ctx: int) -> None:
    """Fill what is the same for every position of an extent."""
    store64(ctx + CTX_UNIT, load64(extent + UNIT))
    store64(ctx + CTX_NR_STRIPS, load64(extent + NR_STRIPS))
    store64(ctx + CTX_STRIP_LENGTH, load64(extent + STRIP_LENGTH))
    store64(ctx + CTX_SEED, load64(extent + SEED))
    for i in range(NR_PARAMS):
        store64(ctx + CTX_P0 + WORD * i, load64(extent + PARAMS + WORD * i))


def check(extent: int, strip: int, addr: int, length: int, count: int) -> int:
    """Check an answer; return how far it holds, bytes, in what is owned; or what is wrong."""
    if strip < 0 or strip >= load_constant(extent + NR_STRIPS):
        return BAD_STRIP
    owned = load_constant(extent + STRIP_ALLOC)
    # The span, not the start, and in an order that cannot overflow.
    if addr < 0 or addr % BLOCK != 0 or addr > owned - BLOCK:
        return BAD_ADDR
    if length <= 0 or length % BLOCK != 0:
        return BAD_LENGTH
    return min(length, count, owned - addr)


def walk_by(
    name: str, replacement: Callable[[int, int, int, int], tuple[int, int, int, int]]
) -> Callable[[int, int, int, int, int, int], int]:
    """Return `walk` under another name, with *replacement* in place of `answer`.

    The compiler sees a plain function that calls a plain function, so it can put one into the
    other; the loop is written once for all of them.
    """
    body = FunctionType(walk.__code__, {**walk.__globals__, "answer": replacement}, name)
    body.__qualname__ = name
    return body
