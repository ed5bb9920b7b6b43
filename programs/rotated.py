# SPDX-License-Identifier: MIT
"""Rotated: RAID0 whose first strip differs from file to file.

    strip          0    1    2    3             0    1    2    3
                   1    2    3    0             3    0    1    2
                   5    6    7    4             7    4    5    6
                       seed 3                       seed 4

Under raid0 the first unit of every extent lies on strip 0: where all files have the same
strips, one of them holds the headers of all archives and the whole of all small files.
exofs (its "moving window") and PVFS therefore start file number i at device i modulo n.

Here i is multiplied by the golden ratio, and the fraction of the product, 0 to 1, picks
the strip (Fibonacci hashing: Knuth, The Art of Computer Programming, 6.4).  Files made one
after the other start far apart and fill all strips alike, as with the remainder.  But a
remainder added to another one cancels: were the strips themselves already shifted by i,
then of four strips only every second would ever come first.

`seed` is the number of the inode that made the extent.  It is stored with the extent
and never changes, so a file keeps its layout however it is moved or restored.

Prefix: a row of the file is a row of the strips, rotated.
"""

from iomapd.abi import HANDLED

BITS_31 = 0x7FFFFFFF
GOLDEN = 0x4F1BBCDD  # 2**31 divided by the golden ratio


def iomap_begin(ctx):
    unit_index = ctx.pos // ctx.unit
    row = unit_index // ctx.nr_strips
    within = ctx.pos - unit_index * ctx.unit
    fraction = ((ctx.seed & BITS_31) * GOLDEN) & BITS_31
    first = (fraction * ctx.nr_strips) >> 31
    ctx.strip = (unit_index + first) % ctx.nr_strips
    ctx.addr = row * ctx.unit + within
    ctx.length = min(ctx.unit - within, ctx.count)
    return HANDLED
