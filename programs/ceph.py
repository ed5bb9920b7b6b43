# SPDX-License-Identifier: MIT
"""Ceph: RAID0 over a few objects at a time, and the objects over the strips.

    strip          0    1    2    3
                   0    1    8    9        stripe_count = 2 objects
                   2    3   10   11        object_size = 4 units
                   4    5   12   13        objects 0, 1, 2, 3
                   6    7   14   15
                  ..................
                  16   17   18   19        less than an object is left: by units

The file layout of CephFS and RBD (docs.ceph.com, "File layouts", "Data striping"), with `unit`
for stripe_unit: units go round `stripe_count` objects until these are `object_size` long, then
round the next ones.

    object set = unit_index // (stripe_count * units per object)
    object     = object set * stripe_count + column;  row in the object likewise

What CRUSH does there - scatter objects over the cluster - is round robin here, since strips are of
one length and all of it is used: object number i is object i // nr_strips of strip i % nr_strips.

Any values give a map.  stripe_count is taken as 1 to 64, an object as 1 to 1024 whole units and
no longer than a strip.  Objects that are left when the last set is not full make a smaller set;
units that are left below the last objects are dealt out as in raid0.

Fixed, not prefix, when an object is longer than a unit.  The divisors are parameters, so this is
long division, as in linear; strips longer than 4 PiB are declined.
"""

from iomapd.abi import FALLBACK, HANDLED

PARAMS = ("stripe_count", "object_size")

STRIP_MAX = 1 << 52
HIGHEST_BIT = 1 << 45  # 64 such strips have at most 2**46 blocks


def quotient(value, divisor):
    """Return value // divisor for 0 <= value <= 2**46 and 0 < divisor <= 2**16."""
    result = 0
    bit = HIGHEST_BIT
    for _ in range(46):
        if (result + bit) * divisor <= value:
            result += bit
        bit //= 2
    return result


def iomap_begin(ctx):
    unit_index = ctx.pos // ctx.unit
    within = ctx.pos - unit_index * ctx.unit
    rows = ctx.strip_length // ctx.unit
    if ctx.strip_length > STRIP_MAX:
        return FALLBACK
    # Limits times unit, and divided again: were the divisors of the long divisions constant on
    # some path, the kernel's verifier would walk through every quotient that there can be.
    object_size = min(max(ctx.object_size, ctx.unit), 1024 * ctx.unit, ctx.strip_length)
    depth = object_size // ctx.unit
    count = min(max(ctx.stripe_count, 1), 64) * ctx.unit // ctx.unit
    objects_per_strip = quotient(rows, depth)
    objects = objects_per_strip * ctx.nr_strips
    if unit_index < objects * depth:
        first = quotient(unit_index, count * depth) * count
        rest = unit_index - first * depth
        # The last set may be a smaller one.
        width = min(count, objects - first)
        row = quotient(rest, width)
        number = first + rest - row * width
        slot = number // ctx.nr_strips
        ctx.strip = number - slot * ctx.nr_strips
        row += slot * depth
    else:
        rest = unit_index - objects * depth
        row = rest // ctx.nr_strips
        ctx.strip = rest - row * ctx.nr_strips
        row += objects_per_strip * depth
    ctx.addr = row * ctx.unit + within
    ctx.length = min(ctx.unit - within, ctx.count)
    return HANDLED
