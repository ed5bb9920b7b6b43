# SPDX-License-Identifier: MIT
"""The records that a mapping program sees as ``ctx``: 32 signed 64-bit words, little-endian.

    WORD  FIELD              iomap_begin                          iomap_end, iomap_ioend
       0  pos                of a block, from the extent's start  start of what was asked
       1  count              bytes from pos to the extent's end   bytes that were asked
       2  unit               stripe unit, bytes; > 0              same
       3  nr_strips          strips of the extent; > 0            same
       4  strip_length       bytes of a strip, fixed for life     same
       5  seed               the ino that made the extent         same
    6-13  p0..p7             what [volume.params] gives           same
      14  strip         OUT  index of the strip, 0..nr_strips-1   counter 0    OUT
      15  addr          OUT  byte address in that strip           counter 1    OUT
      16  length        OUT  bytes this answer covers, > 0        counter 2    OUT
      17  upsert_pos   HINT  what to make known: from the start   counter 3    OUT
      18  upsert_length  "   bytes; 0 = nothing                   counter 4    OUT
      19  upsert_strip   "   strip where that lies                counter 5    OUT
      20  upsert_addr    "   byte address in that strip           counter 6    OUT
      21  invalidate_pos "   what to forget: from the start       counter 7    OUT
      22  invalidate_length  bytes; 0 = nothing                   written: bytes done, or -errno
      23                     reserved                             opflags: bit 0 is set for a write
      24                     reserved                             error: errno, 0 without
   25-31                     reserved                             reserved

Reserved words are zero.  Bytes everywhere; pos, unit and strip_length are multiples of 4 KiB.
count is ``strip_length * nr_strips - pos``: it belongs to the extent, not to the request, and
trimming the extent does not change it.  So the answer is a pure function of what is stored.

A program names its parameters and counters at its top, and uses the names as fields:

    PARAMS = ("object_size",)        ctx.object_size is p0
    COUNTERS = ("short", "failed")   ctx.short = 1 in iomap_end adds one to the first counter

``iomap_begin(ctx)`` is required and answers HANDLED when it has set strip, addr and length;
every other value means FALLBACK.  ``iomap_end`` and ``iomap_ioend`` are optional, are called on
the slow path only, and change nothing but counters: they find them zero and leave increments.
What they return does not matter.

Hints are what the kfuncs of fuse-iomap do by calls: with an answer, ``iomap_begin`` names a mapping
that the cache should hold, or a range that it should forget.  Who looks at hints clears their words
before the call and checks them after it; everybody else, lanes above all, looks at none.  No answer
depends on them.  So they need no new version: a program without hints leaves the words as it found
them, and one that gave a parameter such a name keeps its parameter.

Compiled, each is ``int64 NAME(int64 address of ctx)``.
"""

from __future__ import annotations

from typing import Final

from iomapd.abi import PROGRAM_ABI

WORD: Final = 8
"""Bytes of a field."""

NR_WORDS: Final = 32
CTX_SIZE: Final = NR_WORDS * WORD
"""Bytes of either record."""

NR_PARAMS: Final = 8
NR_COUNTERS: Final = 8

COMMON_WORDS: Final = (
    "pos", "count", "unit", "nr_strips", "strip_length", "seed",
    *(f"p{index}" for index in range(NR_PARAMS)),
)  # fmt: skip
"""Inputs that both records begin with, in order."""

HINT_WORDS: Final = (
    "upsert_pos", "upsert_length", "upsert_strip", "upsert_addr",
    "invalidate_pos", "invalidate_length",
)  # fmt: skip
"""Hints of ``iomap_begin``, in order."""

CTX_WORDS: Final = (*COMMON_WORDS, "strip", "addr", "length", *HINT_WORDS)
"""Fields of ``iomap_begin``'s record, in order."""

END_WORDS: Final = (
    *COMMON_WORDS,
    *(f"c{index}" for index in range(NR_COUNTERS)),
    "written", "opflags", "error",
)  # fmt: skip
"""Fields of the record of ``iomap_end`` and ``iomap_ioend``, in order."""

CTX_IN: Final = frozenset(COMMON_WORDS)
CTX_OUT: Final = frozenset({"strip", "addr", "length"})
CTX_HINTS: Final = frozenset(HINT_WORDS)
END_IN: Final = frozenset({*COMMON_WORDS, "written", "opflags", "error"})
END_OUT: Final = frozenset(f"c{index}" for index in range(NR_COUNTERS))

BEGIN: Final = "iomap_begin"
ENDS: Final = ("iomap_end", "iomap_ioend")
ENTRIES: Final = (BEGIN, *ENDS)
"""Functions that the core calls; only the first is required."""

# Byte offsets, one name each: compiled functions know only ints.
CTX_POS: Final = 0 * WORD
CTX_COUNT: Final = 1 * WORD
CTX_UNIT: Final = 2 * WORD
CTX_NR_STRIPS: Final = 3 * WORD
CTX_STRIP_LENGTH: Final = 4 * WORD
CTX_SEED: Final = 5 * WORD
CTX_P0: Final = 6 * WORD
CTX_STRIP: Final = 14 * WORD
CTX_ADDR: Final = 15 * WORD
CTX_LENGTH: Final = 16 * WORD
CTX_FIRST_HINT: Final = 17 * WORD
HINTS_SIZE: Final = len(HINT_WORDS) * WORD
END_C0: Final = 14 * WORD
END_WRITTEN: Final = 22 * WORD
END_OPFLAGS: Final = 23 * WORD
END_ERROR: Final = 24 * WORD

# The names and the offsets say the same.
assert CTX_WORDS.index("strip") * WORD == CTX_STRIP
assert CTX_WORDS.index("addr") * WORD == CTX_ADDR
assert CTX_WORDS.index("length") * WORD == CTX_LENGTH
assert CTX_WORDS.index(HINT_WORDS[0]) * WORD == CTX_FIRST_HINT
assert CTX_WORDS.index("seed") * WORD == CTX_SEED
assert CTX_WORDS.index("p0") * WORD == CTX_P0
assert END_WORDS.index("c0") * WORD == END_C0
assert END_WORDS.index("written") * WORD == END_WRITTEN
assert END_WORDS.index("error") * WORD == END_ERROR
assert len(CTX_WORDS) < NR_WORDS
assert len(END_WORDS) <= NR_WORDS
assert PROGRAM_ABI == 1
