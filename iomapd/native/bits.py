# SPDX-License-Identifier: MIT
"""Bits of a 64-bit word, and the processor's time stamp: the Python twins."""

from __future__ import annotations

import time

_WORD = (1 << 64) - 1


def trailing_zeros(word: int) -> int:
    """Return the index of the lowest set bit of *word* (signed 64 bit); 64 when none is set."""
    word &= _WORD
    return (word & -word).bit_length() - 1 if word else 64


def bit_length(word: int) -> int:
    """Return how many bits *word* takes as an unsigned 64-bit number: 0 for 0, 64 below zero."""
    return (word & _WORD).bit_length()


def cycles() -> int:
    """Return a count that grows steadily and costs next to nothing to read.

    Compiled, the processor's time stamp counter, constant-rate on every x86-64 of the last
    decade; interpreted, nanoseconds.  How fast it goes is for the caller to measure.
    """
    return time.perf_counter_ns()


def likely(flag: bool) -> bool:
    """Return *flag*; compiled, tell LLVM that it is nearly always true.

    What follows such a test becomes a jump that the processor predicts, so that it need not wait
    for what is tested; without it, LLVM may select one of two results instead, which waits.
    """
    return flag
