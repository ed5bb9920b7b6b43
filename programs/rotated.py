# SPDX-License-Identifier: MIT
"""Rotated: RAID0 whose first strip differs from file to file.

    strip          0    1    2    3             0    1    2    3
                   0    1    2    3             2    3    0    1
                   4    5    6    7             6    7    4    5
                       seed 4                       seed 6

Under raid0 the first unit of every file lies on strip 0, and so do all files that are
no longer than a unit: one member serves the headers of all archives and the whole of all
small files.  Here file number i starts at strip i modulo `nr_strips`, as in exofs (its
"moving window"), Lustre (the starting OST of a file) and PVFS.

`seed` is the number of the inode that made the extent.  It is stored with the extent
and never changes, so a file keeps its layout however it is moved or restored.

Prefix: a row of the file is a row of the strips, rotated.
"""

from iomapd.abi import HANDLED


def iomap_begin(ctx):
    unit_index = ctx.pos // ctx.unit
    row = unit_index // ctx.nr_strips
    within = ctx.pos - unit_index * ctx.unit
    first = ctx.seed % ctx.nr_strips
    ctx.strip = (unit_index + first) % ctx.nr_strips
    ctx.addr = row * ctx.unit + within
    ctx.length = min(ctx.unit - within, ctx.count)
    return HANDLED
