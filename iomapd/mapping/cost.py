# SPDX-License-Identifier: MIT
"""What one mapping costs: the same walk with a program called by pointer, and with the formula.

Both write the same record and add up the same answers, so that neither does less than the other.
Plain functions over ``native/``, compiled by jit/.
"""

from __future__ import annotations

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
from iomapd.native.integers import divide
from iomapd.native.memory import load64, load_acquire, store64


def walk_program(program: int, ctx: int, rounds: int) -> int:
    """Ask *program* for *rounds* blocks of the extent, from its start, again when it ends.

    Args:
        program: address of a compiled ``iomap_begin``.
        ctx: address of a record whose inputs are set, all but pos and count.
        rounds: how many mappings.

    Returns:
        The sum of the addresses, so that no answer goes unused.
    """
    end = load64(ctx + CTX_STRIP_LENGTH) * load64(ctx + CTX_NR_STRIPS)
    total = 0
    pos = 0
    for _ in range(rounds):
        store64(ctx + CTX_POS, pos)
        store64(ctx + CTX_COUNT, end - pos)
        call1(program, ctx)
        total += load64(ctx + CTX_ADDR)
        pos += BLOCK
        if pos == end:
            pos = 0
    return total


def walk_formula(ctx: int, rounds: int) -> int:
    """Do as `walk_program`, with the raid0 formula written out in the loop."""
    end = load64(ctx + CTX_STRIP_LENGTH) * load64(ctx + CTX_NR_STRIPS)
    total = 0
    pos = 0
    for _ in range(rounds):
        # Every request finds another extent, so these are loaded each time; otherwise LLVM
        # would turn the loop into vectors and the answer into 1 ns, which no request gets.
        unit = load_acquire(ctx + CTX_UNIT)
        nr_strips = load_acquire(ctx + CTX_NR_STRIPS)
        unit_index = divide(pos, unit)
        row = divide(unit_index, nr_strips)
        within = pos - unit_index * unit
        addr = row * unit + within
        store64(ctx + CTX_STRIP, unit_index - row * nr_strips)
        store64(ctx + CTX_ADDR, addr)
        store64(ctx + CTX_LENGTH, min(unit - within, end - pos))
        total += addr
        pos += BLOCK
        if pos == end:
            pos = 0
    return total
