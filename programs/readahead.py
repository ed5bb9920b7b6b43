# SPDX-License-Identifier: MIT
"""RAID0 that has the next rows known before they are asked for.

    unit      0  1  2  3 | 4  5  6  7 | 8 ...          (4 strips, windows of 2 rows)
    miss         x
    hints           -> 2 -> 3 -> 4 -> 5 -> 6 -> 7      and no further

The map is that of raid0.  With each answer goes a hint: the mapping of the following unit, up to
the end of a window of rows.  Where member-level mappings are kept (`mapper=cache`), the server
checks a hint by asking for that unit, and finds the next hint beside that answer: one miss makes
the rest of the window known.  Elsewhere hints cost some instructions and do nothing.

What `fuse_bpf_iomap_upsert_mappings` is to a program of the fuse-iomap series.
"""

from iomapd.abi import HANDLED

ROWS = 8


def iomap_begin(ctx):
    unit_index = ctx.pos // ctx.unit
    row = unit_index // ctx.nr_strips
    within = ctx.pos - unit_index * ctx.unit
    ctx.strip = unit_index - row * ctx.nr_strips
    ctx.addr = row * ctx.unit + within
    ctx.length = min(ctx.unit - within, ctx.count)

    next_row = (unit_index + 1) // ctx.nr_strips
    next_strip = unit_index + 1 - next_row * ctx.nr_strips
    if ctx.count > ctx.length and (next_strip or next_row % ROWS):
        ctx.upsert_pos = ctx.pos + ctx.length
        ctx.upsert_length = min(ctx.unit, ctx.count - ctx.length)
        ctx.upsert_strip = next_strip
        ctx.upsert_addr = next_row * ctx.unit
    return HANDLED
