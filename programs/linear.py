# SPDX-License-Identifier: MIT
"""Linear: fill one strip, then the next.

    strip          0    1    2    3
                   0    4    8   12        units of the file, from top to bottom
                   1    5    9   13
                   2    6   10   14
                   3    7   11   15

The layout of md's linear arrays, LVM's linear volumes and the "concat" of NFS block
layouts (RFC 5663).  One reader keeps to one member and leaves the others alone; a
piece is as long as a strip, so one mapping answers for a whole member.

A program may divide by `unit`, `nr_strips` and constants only, and here the divisor is
`strip_length`.  So this is long division, as on paper but in base two: the quotient
grows from its highest bit down, and a bit stays where its product still fits.

Fixed, not prefix: the map depends on `strip_length`, and the head of the file fills
one strip.
"""

from iomapd.abi import HANDLED

HIGHEST_BIT = 64  # a volume has at most 64 strips


def iomap_begin(ctx):
    strip = 0
    bit = HIGHEST_BIT
    for _ in range(7):
        larger = strip + bit
        # The first comparison keeps the product inside the extent: nothing overflows.
        if larger < ctx.nr_strips and larger * ctx.strip_length <= ctx.pos:
            strip = larger
        bit //= 2
    addr = ctx.pos - strip * ctx.strip_length
    ctx.strip = strip
    ctx.addr = addr
    ctx.length = min(ctx.strip_length - addr, ctx.count)
    return HANDLED
