# SPDX-License-Identifier: MIT
"""RAID0: consecutive units go to consecutive strips.

    unit      0  1  2  3  4  5  6  7
    strip     0  1  2  3  0  1  2  3        (4 strips)
    row       0  0  0  0  1  1  1  1

The layout of md's RAID0, dm-stripe and famfs's interleaved extents.
"""

from iomapd.abi import HANDLED


def iomap_begin(ctx):
    unit_index = ctx.pos // ctx.unit
    row = unit_index // ctx.nr_strips
    within = ctx.pos - unit_index * ctx.unit
    ctx.strip = unit_index - row * ctx.nr_strips
    ctx.addr = row * ctx.unit + within
    ctx.length = min(ctx.unit - within, ctx.count)
    return HANDLED
