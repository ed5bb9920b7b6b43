# SPDX-License-Identifier: MIT
"""The shipped layouts, written a second time and in another way: by dealing out units.

Each function returns a list of strips; a strip is the list of the file's units on it,
from its lowest address up.  Nothing here divides positions: cards are dealt, stacks are
cut, decks are shuffled as whole lists.
"""

import math
from fractions import Fraction
from itertools import product
from typing import NamedTuple


class Geometry(NamedTuple):
    """What a program is told; *rows* units on each strip."""

    unit: int
    nr_strips: int
    rows: int
    seed: int = 1
    params: tuple = ()

    @property
    def strip_length(self):
        return self.unit * self.rows

    @property
    def total(self):
        return self.strip_length * self.nr_strips


def deal(cards, nr_strips):
    """Deal *cards* (anything sliceable) round the strips."""
    return [list(cards[strip::nr_strips]) for strip in range(nr_strips)]


def rows_of(geometry):
    """The units of the file, a list per row."""
    units = iter(range(geometry.rows * geometry.nr_strips))
    return [[next(units) for _ in range(geometry.nr_strips)] for _ in range(geometry.rows)]


def stand(rows):
    """Turn rows into strips."""
    return [list(strip) for strip in zip(*rows, strict=True)]


def raid0(geometry):
    return deal(range(geometry.rows * geometry.nr_strips), geometry.nr_strips)


readahead = raid0


def linear(geometry):
    units = list(range(geometry.rows * geometry.nr_strips))
    strips = []
    while units:
        strips.append(units[: geometry.rows])
        units = units[geometry.rows :]
    return strips


def rotated(geometry):
    fraction = Fraction(geometry.seed * 0x4F1BBCDD % (1 << 31), 1 << 31)
    strips = raid0(geometry)
    for _ in range(math.floor(fraction * geometry.nr_strips)):
        strips.insert(0, strips.pop())
    return strips


def interleave(geometry):
    (chunk,) = geometry.params
    fitting = [
        1 << power
        for power in range(30)
        if geometry.unit << power <= chunk and 1 << power <= geometry.rows
    ]
    grain = max(fitting, default=1)
    units = list(range(geometry.rows * geometry.nr_strips))
    strips = [[] for _ in range(geometry.nr_strips)]
    while units:
        left = geometry.rows - len(strips[0])
        step = grain if left >= grain else 1
        for strip in strips:
            strip += units[:step]
            units = units[step:]
    return strips


def reverse(geometry):
    return deal(range(geometry.rows * geometry.nr_strips - 1, -1, -1), geometry.nr_strips)


def xor_interleave(geometry):
    if geometry.nr_strips.bit_count() == 1:
        return _parities(geometry)
    # Row by row, as an odometer of base nr_strips turns; the sum of its digits rotates.
    odometer = product(range(geometry.nr_strips), repeat=4)
    rows = []
    for row in rows_of(geometry):
        digits = next(odometer, None)
        assert digits is not None, "four digits are not enough for this geometry"
        turn = sum(digits) % geometry.nr_strips
        rows.append(row[len(row) - turn :] + row[: len(row) - turn])
    return stand(rows)


def _parities(geometry):
    """As a memory controller is documented: a set of address bits for each bit of the bank."""
    bits = geometry.nr_strips.bit_length() - 1
    masks = [sum(1 << (bit + bits * digit) for digit in range(5)) for bit in range(bits)]
    strips = [[] for _ in range(geometry.nr_strips)]
    for unit in range(geometry.rows * geometry.nr_strips):
        parities = [(unit & mask).bit_count() % 2 for mask in masks]
        strips[sum(parity << bit for bit, parity in enumerate(parities))].append(unit)
    return strips


def declustered(geometry):
    modulus = 1 << 31
    number = geometry.seed % (1 << 64)
    key = _hash((number ^ _hash(number >> 31)) % modulus)
    return stand([_shuffled(cards, key, row) for row, cards in enumerate(rows_of(geometry))])


def _shuffled(cards, file_key, row):
    """Shuffle the deck *cards* of one row, eight times swap-or-not, all pairs at once."""
    count = len(cards)
    key = _hash(file_key ^ row % (1 << 31) ^ _hash(row >> 31))
    cut = count * key >> 31
    deck = {(column + cut) % count: card for column, card in enumerate(cards)}
    for turn in range(8):
        key = _hash(key + turn)
        pivot = count * key >> 31
        pairs = {tuple(sorted((a, (pivot - a) % count))) for a in range(count)}
        for low, high in pairs:
            if (key ^ high) * 0x21F0AAAD // (1 << 30) % 2:
                deck[low], deck[high] = deck[high], deck[low]
    return [deck[column] for column in range(count)]


def _hash(value):
    """Hash to 31 bits: xor-shift and multiply, twice, and a last xor-shift."""
    for shift, factor in ((16, 0x21F0AAAD), (15, 0x735A2D97)):
        value %= 1 << 31
        value = (value ^ value // (1 << shift)) * factor
    value %= 1 << 31
    return value ^ value // (1 << 15)


def ceph(geometry):
    stripe_count, object_size = geometry.params
    depth = min(max(object_size // geometry.unit, 1), 1024, geometry.rows)
    width = min(max(stripe_count, 1), 64)
    units = iter(range(geometry.rows * geometry.nr_strips))
    objects = [[] for _ in range(geometry.rows // depth * geometry.nr_strips)]
    for first in range(0, len(objects), width):
        for _ in range(depth):
            for stack in objects[first : first + width]:
                stack.append(next(units))
    strips = [[u for stack in hand for u in stack] for hand in deal(objects, geometry.nr_strips)]
    for strip, left in zip(strips, deal(list(units), geometry.nr_strips), strict=True):
        strip += left
    return strips
