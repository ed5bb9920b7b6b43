# SPDX-License-Identifier: MIT
"""Who answers for an extent: its program, compiled into the loop or by pointer, or the formula.

The loop itself, and how an extent lies in memory, are `mapping.walk`'s.
"""

from __future__ import annotations

from iomapd.abi import HANDLED
from iomapd.geometry.stripes import locate
from iomapd.mapping.walk import (
    LENGTH,
    NR_STRIPS,
    OFFSET,
    OUTSIDE,
    PROGRAM,
    UNIT,
    WALK,
    prepare,
    walk,
    walk_by,
)
from iomapd.native.calls import call6
from iomapd.native.memory import load64, load_constant


def map_range(extent: int, pos: int, end: int, ctx: int, out: int, room: int) -> int:
    """Map ``[pos, end)`` of one extent, as `walk` does; OUTSIDE if it is empty or not all inside.

    Arguments and result are those of `walk`; *ctx* need not be prepared.
    """
    own = load64(extent + WALK)
    if own == 0:
        return map_asking(extent, pos, end, ctx, out, room)
    if not is_inside(extent, pos, end):
        return OUTSIDE
    return call6(own, extent, ctx, pos, end, out, room)


def map_asking(extent: int, pos: int, end: int, ctx: int, out: int, room: int) -> int:
    """Map as `map_range` does, but leave in *ctx* what the program says besides: hints."""
    if not is_inside(extent, pos, end):
        return OUTSIDE
    if load64(extent + PROGRAM) == 0:
        return walk_by_formula(extent, ctx, pos, end, out, room)
    prepare(extent, ctx)
    return walk(extent, ctx, pos, end, out, room)


def is_inside(extent: int, pos: int, end: int) -> bool:
    """Tell whether the range is not empty and all of it the extent's."""
    offset = load64(extent + OFFSET)
    return offset <= pos < end <= offset + load64(extent + LENGTH)


def answer_by_formula(extent: int, ctx: int, pos: int, count: int) -> tuple[int, int, int, int]:
    """Answer as the raid0 program would; one strip is linear.  *ctx* is left alone."""
    nr_strips = load_constant(extent + NR_STRIPS)
    if nr_strips == 1:
        return HANDLED, 0, pos, count
    strip, addr, run = locate(pos, load_constant(extent + UNIT), nr_strips)
    return HANDLED, strip, addr, run


walk_by_formula = walk_by("walk_by_formula", answer_by_formula)
