# SPDX-License-Identifier: MIT
"""Interleave: RAID0 in chunks of several units.

    strip          0    1    2    3
                   0    2    4    6        chunk = 2 units
                   1    3    5    7
                   8   10   12   14
                   9   11   13   15
                  ..................
                  16   17   18   19        half a chunk is left: by units

The interleaved extents of famfs, where memory devices of a fabric take turns:

    chunk_index = pos // chunk;  strip = chunk_index % nr_strips;  row = chunk_index // nr_strips

The chunk is a parameter of its own (bytes), so that the grain of the interleave can be
chosen apart from `unit`, in which space is given out: small units waste little at the end
of a small file, large chunks keep a long read on one member.  It is rounded down to
unit, 2 units, 4 units, 8 units ... and to at least one unit; whatever the parameter
says, the map is one to one.  A chunk of one unit is raid0.

Rounding by doubling has a reason: `chunk` is no divisor that a program may use, but
halving is division by a constant.  Each turn of the loop doubles the grain, and halves
the numbers of grains.

Fixed, not prefix, when the chunk is larger than the unit: the head of the file reaches
below the first units of the strips.
"""

from iomapd.abi import HANDLED

PARAMS = ("chunk",)


def iomap_begin(ctx):
    grain = ctx.unit
    index = ctx.pos // ctx.unit
    depth = ctx.strip_length // ctx.unit  # whole grains in a strip
    for _ in range(24):
        if depth >= 2 and grain * 2 <= ctx.chunk:
            grain *= 2
            index //= 2
            depth //= 2
    base = 0
    if index >= depth * ctx.nr_strips:
        # What is left at the end of the strips is less than a grain: by units.
        base = depth * grain
        grain = ctx.unit
        index = (ctx.pos - base * ctx.nr_strips) // ctx.unit
    row = index // ctx.nr_strips
    within = ctx.pos - base * ctx.nr_strips - index * grain
    ctx.strip = index - row * ctx.nr_strips
    ctx.addr = base + row * grain + within
    ctx.length = min(grain - within, ctx.count)
    return HANDLED
