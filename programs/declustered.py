# SPDX-License-Identifier: MIT
"""Declustered: every row in an order of its own, drawn from the file's seed.

    strip          0    1    2    3        seed 6
                   0    3    1    2
                   7    6    4    5
                  10   11    8    9
                  14   12   13   15

Under raid0 whoever strides through a file by a multiple of the row - a column of a
matrix, a field of a table - meets one member all the time.  With a fresh order in each
row no stride is bad, and no two files are bad in the same way.  Memory systems call it
pseudo-random interleaving (Rau, ISCA 1991); declustered arrays (Holland and Gibson,
ASPLOS 1992; OpenZFS dRAID) draw the order of each row from a table to spread a rebuild.

There is no table here.  The row is cut like a deck of cards, then shuffled by
swap-or-not (Hoang, Morris and Rogaway, "An Enciphering Scheme Based on a Card
Shuffle", CRYPTO 2012).  In each turn a number k is drawn, columns c and k - c (modulo
`nr_strips`) are partners, and one coin, tossed for the pair, says whether they trade
places.  As both see the same coin, a turn undoes itself when it is done twice: it is
one to one, for any number of strips and any hash, and so is the whole.

Prefix: a row of the file is a row of the strips, in another order.

The hash needs no quality beyond looking random.  All of it stays below 2**62, so that
nothing wraps and the file gives the same answers in plain Python.
"""

from iomapd.abi import HANDLED

TURNS = 8
BITS_31 = 0x7FFFFFFF
HEADS = 1 << 30  # a high bit of the product: all bits of the key have a say in it


def scramble(value):
    """Return 31 bits in which every bit of *value* has a say."""
    value = value & BITS_31
    value = ((value ^ (value >> 16)) * 0x21F0AAAD) & BITS_31
    value = ((value ^ (value >> 15)) * 0x735A2D97) & BITS_31
    return value ^ (value >> 15)


def below(limit, key):
    """Return a number in [0, *limit*), as likely as any other; *key* has 31 bits."""
    return (key * limit) >> 31


def iomap_begin(ctx):
    unit_index = ctx.pos // ctx.unit
    row = unit_index // ctx.nr_strips
    within = ctx.pos - unit_index * ctx.unit
    key = scramble(ctx.seed ^ scramble(ctx.seed >> 31))
    key = scramble(key ^ row ^ scramble(row >> 31))
    column = (unit_index + below(ctx.nr_strips, key)) % ctx.nr_strips
    for turn in range(TURNS):
        key = scramble(key + turn)
        partner = below(ctx.nr_strips, key) - column
        if partner < 0:
            partner += ctx.nr_strips
        # Both partners know which of them is the larger.
        coin = (key ^ max(column, partner)) * 0x21F0AAAD
        if coin & HEADS:
            column = partner
    ctx.strip = column
    ctx.addr = row * ctx.unit + within
    ctx.length = min(ctx.unit - within, ctx.count)
    return HANDLED
