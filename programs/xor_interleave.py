# SPDX-License-Identifier: MIT
"""XOR interleave: the strip is the column XOR the digits of the row.

    strip          0    1    2    3
                   0    1    2    3        row 0
                   5    4    7    6        row 1
                  10   11    8    9        row 2
                  15   14   13   12        row 3
                  17   16   19   18        row 4 = 10 in base four: XOR 1 and 0

How memory controllers choose the bank: each bank bit is the parity of several address
bits, so that strides which are powers of two - the usual ones - visit all banks
instead of one (permutation-based page interleaving: Zhang, Zhu and Zhang, MICRO 2000;
the functions in Intel's controllers: Pessl et al., "DRAMA", USENIX Security 2016).
Here a bank is a strip; the row is cut into digits, each as wide as a strip number.

With 4, 8, 16 ... strips: strip = column XOR digit XOR digit ...  Exclusive or
with anything is one to one, so each row visits every strip once.

With 3, 5, 6 ... strips, XOR would name strips that do not exist.  Addition modulo
`nr_strips` does then what XOR does without carries (skewed storage: Budnik and Kuck,
1971), and is one to one for the same reason.

Prefix: a row of the file is a row of the strips, in another order.
"""

from iomapd.abi import HANDLED

DIGITS = 4


def iomap_begin(ctx):
    unit_index = ctx.pos // ctx.unit
    row = unit_index // ctx.nr_strips
    within = ctx.pos - unit_index * ctx.unit
    column = unit_index - row * ctx.nr_strips
    mixed = column
    total = column
    rest = row
    for _ in range(DIGITS):
        higher = rest // ctx.nr_strips
        digit = rest - higher * ctx.nr_strips
        mixed ^= digit
        total += digit
        rest = higher
    if ctx.nr_strips & (ctx.nr_strips - 1) == 0:
        ctx.strip = mixed
    else:
        ctx.strip = total % ctx.nr_strips
    ctx.addr = row * ctx.unit + within
    ctx.length = min(ctx.unit - within, ctx.count)
    return HANDLED
