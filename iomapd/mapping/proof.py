# SPDX-License-Identifier: MIT
"""The proof of an extent's map: every block asked once, every place given once.

    file     |0|1|2|3|4|5|6|7|        one call of the program per block of 4 KiB
              | | | |  ...
    strips   |0|2|4|6|  |1|3|5|7|     one bit per block; a bit that is set already refutes

The map of an extent is finite, so it is not argued about but computed.  As many blocks go in as
there are places, so "no place twice" means "every place once": a bijection.  Answers longer
than a block must say of the following blocks what these say themselves; then all answers,
whoever asks for whichever block, are the same map.

Plain functions over ``native/``, compiled by jit/; the interpreter is their oracle.  About 7 ns
per block for raid0 (see docs/design/admission.md).
"""

from __future__ import annotations

from typing import Final

from iomapd.abi import HANDLED
from iomapd.abi.program import (
    CTX_ADDR,
    CTX_COUNT,
    CTX_LENGTH,
    CTX_NR_STRIPS,
    CTX_POS,
    CTX_STRIP,
    CTX_STRIP_LENGTH,
    CTX_UNIT,
)
from iomapd.abi.units import BLOCK
from iomapd.native.calls import call1
from iomapd.native.memory import load8, load64, store8, store64

# What a proof says; zero is not success.
PROVEN: Final = 1
NOT_HANDLED: Final = 2
BAD_STRIP: Final = 3
BAD_ADDR: Final = 4
OUTSIDE: Final = 5
BAD_LENGTH: Final = 6
PAST_END: Final = 7
OVERLAP: Final = 8
CONTRADICTION: Final = 9

# The report: 64-bit words that a proof leaves behind, as byte offsets.
AT: Final = 0
"""Position of the block that failed; the extent's length when none did."""
ANSWER: Final = 8
"""Status of the program there; strip, addr and length are left in ctx."""
IS_PREFIX: Final = 16
"""1: the first k rows of the file lie in the first k units of every strip, for every k."""
IS_RAID0: Final = 24
"""1: every block lies where the raid0 formula puts it."""
REPORT_SIZE: Final = 32

_LOW: Final = BLOCK - 1


def prove_map(program: int, ctx: int, bitmap: int, report: int) -> int:
    """Compute the whole map of one extent and check that it is a bijection onto its strips.

    Args:
        program: address of the compiled ``iomap_begin``.
        ctx: address of a record whose inputs are set, all but pos and count; unit and
            strip_length are positive multiples of `BLOCK`, and the extent's length fits.
        bitmap: address of zeroed bytes, one bit per block of the extent.
        report: address of `REPORT_SIZE` bytes, filled in.

    Returns:
        PROVEN, or what is wrong with the first block that is wrong; only after PROVEN do
        IS_PREFIX and IS_RAID0 mean anything.
    """
    unit = load64(ctx + CTX_UNIT)
    nr_strips = load64(ctx + CTX_NR_STRIPS)
    strip_blocks = load64(ctx + CTX_STRIP_LENGTH) // BLOCK
    end = load64(ctx + CTX_STRIP_LENGTH) * nr_strips
    # Where the raid0 formula puts the block, carried along instead of divided out.
    row = 0
    column = 0
    within = 0
    is_prefix = 1
    is_raid0 = 1
    # What the answer before said of this block: its place, and how far it claimed to reach.
    owed_strip = 0
    owed_addr = 0
    owed = 0
    pos = 0
    status = 0
    verdict = PROVEN
    while pos < end:
        status = ask(program, ctx, pos, end - pos)
        verdict = judge(ctx, status)
        if verdict != PROVEN:
            break
        strip = load64(ctx + CTX_STRIP)
        addr = load64(ctx + CTX_ADDR)
        length = load64(ctx + CTX_LENGTH)
        if owed > 0 and (strip != owed_strip or addr != owed_addr or length < owed):
            verdict = CONTRADICTION
            break
        if claim(bitmap, strip * strip_blocks + addr // BLOCK) == 0:
            verdict = OVERLAP
            break
        if strip != column or addr != row + within:
            is_raid0 = 0
        if addr >= row + unit:
            is_prefix = 0
        owed_strip = strip
        owed_addr = addr + BLOCK
        owed = length - BLOCK
        within += BLOCK
        if within == unit:
            within = 0
            column += 1
            if column == nr_strips:
                column = 0
                row += unit
        pos += BLOCK
    store64(report + AT, pos)
    store64(report + ANSWER, status)
    store64(report + IS_PREFIX, is_prefix)
    store64(report + IS_RAID0, is_raid0)
    return verdict


def ask(program: int, ctx: int, pos: int, count: int) -> int:
    """Call the program for the block at *pos*; its status."""
    store64(ctx + CTX_POS, pos)
    store64(ctx + CTX_COUNT, count)
    return call1(program, ctx)


def judge(ctx: int, status: int) -> int:
    """Check one answer by itself: PROVEN, or the first rule that it breaks.

    What the core checks at run time, too, but for the space that the extent still owns.
    """
    if status != HANDLED:
        return NOT_HANDLED
    strip = load64(ctx + CTX_STRIP)
    if strip < 0 or strip >= load64(ctx + CTX_NR_STRIPS):
        return BAD_STRIP
    addr = load64(ctx + CTX_ADDR)
    if addr & _LOW:
        return BAD_ADDR
    if addr < 0 or addr > load64(ctx + CTX_STRIP_LENGTH) - BLOCK:
        return OUTSIDE
    length = load64(ctx + CTX_LENGTH)
    if length <= 0 or length & _LOW:
        return BAD_LENGTH
    if length > load64(ctx + CTX_COUNT):
        return PAST_END
    return PROVEN


def claim(bitmap: int, block: int) -> int:
    """Set the bit of *block*: 1, or 0 when it was set already."""
    addr = bitmap + (block >> 3)
    bit = 1 << (block & 7)
    byte = load8(addr)
    if byte & bit:
        return 0
    store8(addr, byte | bit)
    return 1


def find_block(program: int, ctx: int, strip: int, addr: int) -> int:
    """Find which block of the file goes to *addr* in *strip*; for messages.

    Returns:
        Its position, or the extent's length when none does.
    """
    end = load64(ctx + CTX_STRIP_LENGTH) * load64(ctx + CTX_NR_STRIPS)
    pos = 0
    while pos < end:
        ask(program, ctx, pos, end - pos)
        if load64(ctx + CTX_STRIP) == strip and load64(ctx + CTX_ADDR) == addr:
            return pos
        pos += BLOCK
    return end


def same_places(program: int, shorter: int, longer: int) -> int:
    """Tell whether a longer extent begins like a shorter one.

    Args:
        program: address of the compiled ``iomap_begin``.
        shorter: address of a record with all inputs but pos and count.
        longer: the same, with longer strips.

    Returns:
        PROVEN when every block of the shorter extent has the same strip and address in the
        longer one, else CONTRADICTION.
    """
    end = load64(shorter + CTX_STRIP_LENGTH) * load64(shorter + CTX_NR_STRIPS)
    longer_end = load64(longer + CTX_STRIP_LENGTH) * load64(longer + CTX_NR_STRIPS)
    pos = 0
    while pos < end:
        ask(program, shorter, pos, end - pos)
        ask(program, longer, pos, longer_end - pos)
        if load64(shorter + CTX_STRIP) != load64(longer + CTX_STRIP):
            return CONTRADICTION
        if load64(shorter + CTX_ADDR) != load64(longer + CTX_ADDR):
            return CONTRADICTION
        pos += BLOCK
    return PROVEN
