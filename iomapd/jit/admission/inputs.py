# SPDX-License-Identifier: MIT
"""What the executions of a program are compared on: the same inputs for every program.

    boundaries     every field at 0, 1, 2**31, 2**63 - 1 ..., the others as usual
    edges          a ladder of extents: the blocks where something begins or ends
    extents        random extents, a random block of each
    guaranteed     any 64 bits that the core could ask: nothing negative, no division by 0
    nonsense       any 64 bits; arithmetic has to agree where nobody looks, too

Only unit and nr_strips are positive everywhere: to divide by less is not promised to anybody.
"""

from __future__ import annotations

import random
from itertools import product
from typing import TYPE_CHECKING, Final

from iomapd.abi.program import (
    BEGIN,
    CTX_IN,
    CTX_WORDS,
    END_IN,
    END_WORDS,
    NR_PARAMS,
    NR_WORDS,
)
from iomapd.abi.units import BLOCK
from iomapd.jit.admission.interpret import wrap
from iomapd.jit.bpf.wrapper import AT_LEAST

if TYPE_CHECKING:
    from collections.abc import Iterator

_SEED: Final = 20260101
_BOUNDARIES: Final = (0, 1, -1, 2, 3, BLOCK, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1, -(2**63))

_UNITS: Final = (BLOCK, 3 * BLOCK, 16 * BLOCK, 1024 * BLOCK)
_NR_STRIPS: Final = (1, 2, 3, 4, 7, 64)
_ROWS: Final = (1, 5, 64)

_UNIT_WORD: Final = CTX_WORDS.index("unit")
_NR_STRIPS_WORD: Final = CTX_WORDS.index("nr_strips")
_SEED_WORD: Final = CTX_WORDS.index("seed")
_FIRST_PARAM: Final = CTX_WORDS.index("p0")

LOWEST: Final = {_UNIT_WORD: 1, _NR_STRIPS_WORD: 1}
"""Words that are positive in all inputs, with the lowest value of each."""

_GUARANTEED: Final = {CTX_WORDS.index(word): least for word, least in AT_LEAST.items()}
_MAX: Final = 2**63 - 1


def is_guaranteed(words: list[int]) -> bool:
    """Tell whether the core could ask this; only then the BPF code has an answer."""
    return all(words[place] >= least for place, least in _GUARANTEED.items())


def inputs_of(name: str, count: int) -> Iterator[list[int]]:
    """Yield records for the entry *name*: boundaries and edges, and *count* random ones."""
    order, inputs = (CTX_WORDS, CTX_IN) if name == BEGIN else (END_WORDS, END_IN)
    places = [index for index, word in enumerate(order) if word in inputs]
    yield from _boundaries(places)
    yield from _edges()
    dice = random.Random(_SEED)
    for turn in range(count):
        words = [0] * NR_WORDS
        for place in places:
            words[place] = wrap(dice.getrandbits(64) >> dice.randrange(64))
        for place, least in LOWEST.items():
            words[place] = abs(words[place]) % (2**62) + least
        if turn % 4 == 1:
            yield _guaranteed(words)
        elif turn % 4 == 3:
            yield _with_signs(words, dice)
        else:
            yield _extent(words, dice)


def _boundaries(places: list[int]) -> Iterator[list[int]]:
    """One input after the other at its boundaries, the others as usual."""
    plain = _record(0, 16 * BLOCK, 4, 16 * BLOCK)
    for place in places:
        for value in _BOUNDARIES:
            if value >= LOWEST.get(place, value):
                yield [*plain[:place], value, *plain[place + 1 :]]


def _edges() -> Iterator[list[int]]:
    for unit, nr_strips, rows in product(_UNITS, _NR_STRIPS, _ROWS):
        strip_length, width = unit * rows, unit * nr_strips
        length = strip_length * nr_strips
        ends = {0, unit, width, strip_length, length - width, length}
        for pos in sorted({end + step for end in ends for step in (-BLOCK, 0)}):
            if 0 <= pos < length:
                yield _record(pos, unit, nr_strips, strip_length)


def _record(pos: int, unit: int, nr_strips: int, strip_length: int, seed: int = 1) -> list[int]:
    words = [pos, strip_length * nr_strips - pos, unit, nr_strips, strip_length, seed]
    return words + [0] * (NR_WORDS - len(words))


def _with_signs(words: list[int], dice: random.Random) -> list[int]:
    return [
        word if place in LOWEST or dice.randrange(2) else wrap(-word)
        for place, word in enumerate(words)
    ]


def _guaranteed(words: list[int]) -> list[int]:
    words = list(words)
    for place, least in _GUARANTEED.items():
        words[place] = max(words[place] & _MAX, least)
    return words


def _extent(words: list[int], dice: random.Random) -> list[int]:
    """Replace nonsense by an extent and a block in it."""
    unit = BLOCK << dice.randrange(11)
    nr_strips = dice.choice((1, 2, 3, 4, 5, 7, 8, 16, 31, 64))
    strip_length = unit * dice.randrange(1, 1 << dice.randrange(1, 14))
    pos = dice.randrange(strip_length * nr_strips // BLOCK) * BLOCK
    head = _record(pos, unit, nr_strips, strip_length, abs(words[_SEED_WORD]) % 2**62)
    params = [abs(value) % (1 << 24) for value in words[_FIRST_PARAM : _FIRST_PARAM + NR_PARAMS]]
    return [*head[:_FIRST_PARAM], *params, *words[_FIRST_PARAM + NR_PARAMS :]]
