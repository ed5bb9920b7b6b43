# SPDX-License-Identifier: MIT
"""Stage 5, agree: the interpreter and the compiled code give the same answers.

The inputs are a fixed set for every program: boundaries, then random numbers from a fixed seed,
half of them geometries that may come up and half of them nonsense (any 64 bits; only unit and
nr_strips stay positive), because arithmetic has to agree where nobody looks, too.  What
disagrees is made smaller as long as it still disagrees, and printed.
"""

from __future__ import annotations

import ctypes
import random
from typing import TYPE_CHECKING, Final

from iomapd.abi import HANDLED
from iomapd.abi.program import (
    BEGIN,
    CTX_IN,
    CTX_OUT,
    CTX_SIZE,
    CTX_WORDS,
    END_IN,
    END_OUT,
    END_WORDS,
    NR_PARAMS,
    NR_WORDS,
)
from iomapd.abi.units import BLOCK
from iomapd.jit.admission.interpret import interpret, wrap
from iomapd.jit.admission.source import refusal
from iomapd.native.calls import call1
from iomapd.native.region import Region

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from iomapd.jit.admission.tree import ParsedProgram

_SEED: Final = 20260101
_BOUNDARIES: Final = (0, 1, -1, 2, 3, BLOCK, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1, -(2**63))
_INPUTS_MIN: Final = 100
_INPUTS_MAX: Final = 2000

# Interpreted steps that all inputs together may take, about a second.
_STEPS: Final = 1 << 21

_UNIT: Final = CTX_WORDS.index("unit")
_NR_STRIPS: Final = CTX_WORDS.index("nr_strips")
_FIRST_PARAM: Final = CTX_WORDS.index("p0")


def agree(program: ParsedProgram, addresses: dict[str, int], step_bound: int) -> int:
    """Compare the interpreter with compiled code.

    Args:
        program: as parsed.
        addresses: of the compiled entries, by name.
        step_bound: most steps of one answer; more steps, fewer inputs.

    Returns:
        How many inputs were compared.

    Raises:
        ProgramError: with the smallest input found on which they differ.
    """
    count = max(_INPUTS_MIN, min(_INPUTS_MAX, _STEPS // max(step_bound, 1)))
    compared = 0
    for name, address in addresses.items():
        pair = _Pair(program, name, address)
        for words in _inputs(name, count):
            if pair.differ(words):
                raise refusal(program.file, pair.line, pair.words(_smaller(words, pair.differ)))
            compared += 1
    return compared


class _Pair:
    """One entry, interpreted and compiled."""

    def __init__(self, program: ParsedProgram, name: str, address: int) -> None:
        self.line = program.functions[name].line
        self._name = name
        self._interpreted = interpret(program, name)
        self._address = address
        self._region = Region(CTX_SIZE)
        self._ctx = (ctypes.c_int64 * NR_WORDS).from_address(self._region.addr)
        order, outputs = (CTX_WORDS, CTX_OUT) if name == BEGIN else (END_WORDS, END_OUT)
        self._names = order
        self._outputs = [order.index(word) for word in order if word in outputs]

    def answers(self, words: list[int]) -> tuple[list[int], list[int]]:
        """Ask both; status first, then the answers if there are any."""
        record = list(words)
        status = self._interpreted(record)
        for index, word in enumerate(words):
            self._ctx[index] = word
        compiled = call1(self._address, self._region.addr)
        return (
            [status, *(record[i] for i in self._outputs if status == HANDLED)],
            [compiled, *(self._ctx[i] for i in self._outputs if compiled == HANDLED)],
        )

    def differ(self, words: list[int]) -> bool:
        interpreted, compiled = self.answers(words)
        return interpreted != compiled

    def words(self, words: list[int]) -> str:
        interpreted, compiled = self.answers(words)
        given = " ".join(
            f"{name}={value}" for name, value in zip(self._names, words, strict=False) if value
        )
        return f"{self._name} answers {interpreted} interpreted and {compiled} compiled for {given}"


def _inputs(name: str, count: int) -> Iterator[list[int]]:
    """Yield about *count* records, the same ones each time."""
    order, inputs = (CTX_WORDS, CTX_IN) if name == BEGIN else (END_WORDS, END_IN)
    places = [index for index, word in enumerate(order) if word in inputs]
    plain = [0] * NR_WORDS
    plain[:6] = [0, 64 * BLOCK, 16 * BLOCK, 4, 16 * BLOCK, 1]
    # One input after the other at its boundaries, the others as usual.
    for place in places:
        for value in _BOUNDARIES:
            if value > 0 or place not in (_UNIT, _NR_STRIPS):
                yield [*plain[:place], value, *plain[place + 1 :]]
    dice = random.Random(_SEED)
    for turn in range(count):
        words = list(plain)
        for place in places:
            words[place] = wrap(dice.getrandbits(64) >> dice.randrange(64))
        for place in (_UNIT, _NR_STRIPS):
            words[place] = abs(words[place]) % (2**62) + 1
        yield words if turn % 2 else _geometry(words, dice)


def _geometry(words: list[int], dice: random.Random) -> list[int]:
    """Replace nonsense by an extent and a block in it."""
    unit = BLOCK << dice.randrange(11)
    nr_strips = dice.choice((1, 2, 3, 4, 5, 7, 8, 16, 31, 64))
    strip_length = unit * dice.randrange(1, 1 << dice.randrange(1, 14))
    pos = dice.randrange(strip_length * nr_strips // BLOCK) * BLOCK
    params = [abs(value) % (1 << 24) for value in words[_FIRST_PARAM : _FIRST_PARAM + NR_PARAMS]]
    head = [
        pos,
        strip_length * nr_strips - pos,
        unit,
        nr_strips,
        strip_length,
        abs(words[5]) % 2**62,
    ]
    return [*head, *params, *words[_FIRST_PARAM + NR_PARAMS :]]


def _smaller(words: list[int], differ: Callable[[list[int]], bool]) -> list[int]:
    """Make *words* smaller, one by one, while they still differ."""
    for place in range(len(words)):
        lowest = 1 if place in (_UNIT, _NR_STRIPS) else 0
        for value in (lowest, BLOCK):
            candidate = [*words[:place], value, *words[place + 1 :]]
            if abs(value) < abs(words[place]) and differ(candidate):
                words = candidate
                break
        while abs(words[place]) // 2 >= max(lowest, 1):
            half = words[place] // 2 if words[place] > 0 else -(-words[place] // 2)
            candidate = [*words[:place], half, *words[place + 1 :]]
            if not differ(candidate):
                break
            words = candidate
    return words
