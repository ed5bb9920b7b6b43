# SPDX-License-Identifier: MIT
"""Programs for the tests of admission, as text."""

RAID0 = '''\
"""RAID0, as shipped."""

from iomapd.abi import HANDLED


def iomap_begin(ctx):
    unit_index = ctx.pos // ctx.unit
    row = unit_index // ctx.nr_strips
    within = ctx.pos - unit_index * ctx.unit
    ctx.strip = unit_index - row * ctx.nr_strips
    ctx.addr = row * ctx.unit + within
    ctx.length = min(ctx.unit - within, ctx.count)
    return HANDLED
'''

# Every kind of statement, expression and condition; the map makes no sense.
EVERYTHING = '''\
"""Everything that is allowed."""

from iomapd.abi import FALLBACK, HANDLED

PARAMS = ("object_size", "key")
COUNTERS = ("short", "failed")
ROUNDS = 2 + 1
LOWEST = -9223372036854775808
MASK = (1 << 40) - 1


def mix(x, y):
    """Helpers take integers."""
    if x < y or not y:
        return abs(x - y) ^ (x >> 3)
    return max(x, y, 7) + ~x


def twice(x):
    return mix(x, mix(x, 5))


def iomap_begin(ctx):
    """Answers."""
    total = ctx.pos + ctx.object_size * 3 - ctx.p1
    for i in range(ROUNDS):
        if i == 1:
            continue
        for j in range(10, 0, -4):
            total += j * i + mix(total, j)
            if 0 <= total < MASK != j:
                break
    total %= ctx.nr_strips
    row = total // 7 - (total << 63) // ctx.unit % 1000
    if ctx.seed & 1:
        pass
    elif total:
        row = -row
    else:
        row = twice(row) + LOWEST
    ctx.strip = row if row > 0 and total >= 0 else +total
    ctx.addr = total * row
    ctx.addr -= ctx.strip_length
    ctx.length = min(ctx.count, ctx.addr)
    if ctx.length == 3:
        return FALLBACK
    return HANDLED


def iomap_end(ctx):
    if ctx.written < ctx.count:
        ctx.short += 1
    ctx.failed = 1 if ctx.error else 0


def iomap_ioend(ctx):
    ctx.c0 += mix(ctx.opflags, ctx.key)
    return HANDLED
'''

# Right wherever the ladder looks, wrong far beyond.
BOMB = RAID0.replace("    return", "    if ctx.pos == {pos}:\n        ctx.addr = 0\n    return")
