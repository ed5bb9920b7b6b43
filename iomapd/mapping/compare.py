# SPDX-License-Identifier: MIT
"""Two programs side by side: do they put every block of an extent at the same place?

How far an answer reaches does not count: only speed depends on it, and `proof` has seen that it
says of each block what the block says itself.

Plain functions over ``native/``, compiled by jit/; the interpreter is their oracle.
"""

from __future__ import annotations

from iomapd.abi import HANDLED
from iomapd.abi.program import CTX_ADDR, CTX_NR_STRIPS, CTX_STRIP, CTX_STRIP_LENGTH
from iomapd.abi.units import BLOCK
from iomapd.mapping.proof import ask
from iomapd.native.memory import load64


def first_difference(one: int, other: int, ctx: int, twin: int) -> int:
    """Find the first block that two programs do not put at the same place.

    Args:
        one: address of a compiled ``iomap_begin``.
        other: address of the other one.
        ctx: address of a record with all inputs but pos and count, for *one*.
        twin: the same for *other*: same geometry, parameters in its own order.

    Returns:
        The block's position, with both answers left in the records; the extent's length when
        there is none.
    """
    end = load64(ctx + CTX_STRIP_LENGTH) * load64(ctx + CTX_NR_STRIPS)
    pos = 0
    while pos < end:
        mine = ask(one, ctx, pos, end - pos)
        theirs = ask(other, twin, pos, end - pos)
        if mine == HANDLED and theirs == HANDLED:
            if load64(ctx + CTX_STRIP) != load64(twin + CTX_STRIP):
                return pos
            if load64(ctx + CTX_ADDR) != load64(twin + CTX_ADDR):
                return pos
        elif mine == HANDLED or theirs == HANDLED:
            return pos
        pos += BLOCK
    return end
