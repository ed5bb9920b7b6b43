# SPDX-License-Identifier: MIT
"""Stage 5, agree, for the walk: a program is compiled twice, and both must say the same.

Lanes run the program inside `mapping.walk.walk`, everybody else calls it.  Here the compiled walk
takes a few steps from the blocks of `inputs.py`, and the interpreted walk, which asks the
interpreter, has to leave the same pieces.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Final

from iomapd.abi.program import BEGIN, CTX_WORDS, NR_PARAMS, WORD
from iomapd.abi.units import BLOCK
from iomapd.jit.admission.interpret import interpret
from iomapd.jit.admission.source import refusal
from iomapd.mapping.walk import PIECE_SIZE, STRIP_SIZE, STRIPS, walk_by
from iomapd.native.calls import call6
from iomapd.native.region import Region

if TYPE_CHECKING:
    from collections.abc import Iterable

    from iomapd.jit.admission.tree import ParsedProgram

STEPS: Final = 3
"""Answers that a walk takes at most."""
_STRIPS_MAX: Final = 64
_SIZE_MAX: Final = 1 << 62
_WITHIN: Final = 5
"""The walk begins a few bytes into the block, as requests do."""

_POS, _COUNT, _UNIT, _NR_STRIPS, _STRIP_LENGTH = range(5)
_FIRST_PARAM: Final = CTX_WORDS.index("p0")
_ANSWER: Final = slice(CTX_WORDS.index("strip"), CTX_WORDS.index("length") + 1)
_PIECE_WORDS: Final = PIECE_SIZE // WORD


def agree_walk(
    program: ParsedProgram, address: int, inputs: Iterable[list[int]], at_most: int
) -> int:
    """Compare the walk at *address* with the interpreter.

    Args:
        program: as parsed.
        address: of the walk that the program is compiled into.
        inputs: records for ``iomap_begin``; those that belong to no extent are left out.
        at_most: how many of them are walked from, evenly chosen; > 0.

    Returns:
        How many walks were compared.

    Raises:
        ProgramError: with the first input on which they differ.
    """
    pair = _Pair(program, address)
    starts = [words for words in inputs if _is_of_extent(words)]
    starts = starts[:: -(-len(starts) // at_most)]
    for words in starts:
        mine, theirs = pair.walk(words)
        if mine != theirs:
            line = program.functions[BEGIN].line
            given = " ".join(f"{name}={words[CTX_WORDS.index(name)]}" for name in CTX_WORDS[:6])
            said = f"finds {theirs} interpreted and {mine} compiled into its walk for {given}"
            raise refusal(program.file, line, f"{BEGIN} {said}")
    return len(starts)


def _is_of_extent(words: list[int]) -> bool:
    """Tell whether the core could be asked this about an extent of a few strips."""
    size = words[_STRIP_LENGTH] * words[_NR_STRIPS]
    return (
        0 <= words[_POS] < size < _SIZE_MAX
        and words[_POS] % BLOCK == 0
        and words[_COUNT] == size - words[_POS]
        and words[_UNIT] > 0
        and 1 < words[_NR_STRIPS] <= _STRIPS_MAX
    )


class _Pair:
    """The compiled and the interpreted walk, and the memory that both read and write."""

    def __init__(self, program: ParsedProgram, address: int) -> None:
        self._address = address
        self._ask = interpret(program, BEGIN)
        self._asked: list[int] = []
        self._walk = walk_by("interpreted", self._answer)
        self._extent = Region(STRIPS + _STRIPS_MAX * STRIP_SIZE)
        self._words = self._extent.words()
        self._pieces = Region(STEPS * PIECE_SIZE)
        for index in range(_STRIPS_MAX):
            place = (STRIPS + index * STRIP_SIZE) // WORD
            self._words[place], self._words[place + 1] = index + 1, index * BLOCK

    def _answer(self, extent: int, ctx: int, pos: int, count: int) -> tuple[int, int, int, int]:
        record = [pos, count, *self._asked[_UNIT:]]
        status = self._ask(record)
        strip, addr, length = record[_ANSWER]
        return status, strip, addr, length

    def walk(self, words: list[int]) -> tuple[list[int], list[int]]:
        """Walk from the block that *words* ask for; return what was left, compiled first."""
        unit, nr_strips, strip_length, seed = words[_UNIT:_FIRST_PARAM]
        size = strip_length * nr_strips
        params = words[_FIRST_PARAM : _FIRST_PARAM + NR_PARAMS]
        head = [0, size, unit, nr_strips, strip_length, strip_length, seed, 0, *params, 0, 0, 0]
        for index, word in enumerate(head):
            self._words[index] = word
        self._asked = words
        where = (self._extent.addr, 0, words[_POS] + _WITHIN, size, self._pieces.addr, STEPS)
        compiled = self._left(call6(self._address, *where))
        return compiled, self._left(self._walk(*where))

    def _left(self, count: int) -> list[int]:
        pieces = (ctypes.c_int64 * (max(count, 0) * _PIECE_WORDS)).from_address(self._pieces.addr)
        return [count, *pieces]
