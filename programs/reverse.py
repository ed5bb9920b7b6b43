# SPDX-License-Identifier: MIT
"""Reverse: RAID0 from the last unit to the first.

    strip          0    1    2    3
                  15   14   13   12        units of the file
                  11   10    9    8
                   7    6    5    4
                   3    2    1    0

The end of the file gets the lowest addresses.  On a spinning disk those are the outer
tracks, up to twice as fast as the inner ones (zoned recording), and what people read
first of a log or a ZIP archive is its end.  Inside a unit bytes keep their order: only
units trade places.

The shortest program whose answers depend on `strip_length`, and so the one to try when
you want to see what "fixed" means: cut the strips shorter and every unit would have to
move.  That is why only extents of prefix programs are made larger than needed and
trimmed later.
"""

from iomapd.abi import HANDLED


def iomap_begin(ctx):
    unit_index = ctx.pos // ctx.unit
    within = ctx.pos - unit_index * ctx.unit
    rows = ctx.strip_length // ctx.unit
    mirrored = rows * ctx.nr_strips - 1 - unit_index
    row = mirrored // ctx.nr_strips
    ctx.strip = mirrored - row * ctx.nr_strips
    ctx.addr = row * ctx.unit + within
    ctx.length = min(ctx.unit - within, ctx.count)
    return HANDLED
