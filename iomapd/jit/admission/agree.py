# SPDX-License-Identifier: MIT
"""Stage 5, agree: the interpreter, the compiled code and the kernel give the same answers.

The inputs are a fixed set for every program (`inputs.py`).  The interpreter and the x86 code
answer all of them; the BPF code those that keep what the core guarantees, because LLVM was told
of it.  What disagrees is made smaller as long as it still disagrees, and printed.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Final, NamedTuple

from iomapd.abi import FALLBACK, HANDLED
from iomapd.abi.program import (
    BEGIN,
    CTX_OUT,
    CTX_SIZE,
    CTX_WORDS,
    END_OUT,
    END_WORDS,
    NR_WORDS,
)
from iomapd.abi.units import BLOCK
from iomapd.jit.admission.agree_walk import STEPS, agree_walk
from iomapd.jit.admission.inputs import LOWEST, inputs_of, is_guaranteed
from iomapd.jit.admission.interpret import interpret
from iomapd.jit.admission.source import refusal
from iomapd.native.calls import call1
from iomapd.native.region import Region

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from iomapd.jit.admission.tree import ParsedProgram
    from iomapd.jit.bpf.kernel import KernelProgram

_INPUTS_MIN: Final = 100
_INPUTS_MAX: Final = 2000
_WALKS_MIN: Final = 50
_WALKS_MAX: Final = 500

# Interpreted steps that all inputs together may take, about a second.
_STEPS: Final = 1 << 21


class Agreement(NamedTuple):
    """How many inputs were compared, how many of them in the kernel as well, and how many walks."""

    compared: int
    in_kernel: int
    walks: int


def agree(
    program: ParsedProgram,
    addresses: Mapping[str, int],
    step_bound: int,
    loaded: Mapping[str, KernelProgram] | None = None,
    walk: int = 0,
) -> Agreement:
    """Compare the interpreter with compiled code, and with the kernel.

    Args:
        program: as parsed.
        addresses: of the compiled entries, by name.
        step_bound: most steps of one answer; more steps, fewer inputs.
        loaded: what the kernel has accepted, by name; nothing where it was not asked.
        walk: address of the walk that the program is compiled into; 0 = not compared.

    Raises:
        ProgramError: with the smallest input found on which they differ.
    """
    count = max(_INPUTS_MIN, min(_INPUTS_MAX, _STEPS // max(step_bound, 1)))
    compared = in_kernel = 0
    for name, address in addresses.items():
        entry = _Entry(program, name, address, (loaded or {}).get(name))
        for words in inputs_of(name, count):
            if entry.differ(words):
                raise refusal(program.file, entry.line, entry.words(_smaller(words, entry.differ)))
            compared += 1
            in_kernel += entry.is_asked_in_kernel(words)
    few = max(_WALKS_MIN, min(_WALKS_MAX, _STEPS // (STEPS * max(step_bound, 1))))
    walks = agree_walk(program, walk, inputs_of(BEGIN, count), few) if walk else 0
    return Agreement(compared, in_kernel, walks)


class _Entry:
    """One entry, executed in two or three ways."""

    def __init__(
        self, program: ParsedProgram, name: str, address: int, in_kernel: KernelProgram | None
    ) -> None:
        self.line = program.functions[name].line
        self._name = name
        self._interpreted = interpret(program, name)
        self._address = address
        self._in_kernel = in_kernel
        self._region = Region(CTX_SIZE)
        self._ctx = (ctypes.c_int64 * NR_WORDS).from_address(self._region.addr)
        order, outputs = (CTX_WORDS, CTX_OUT) if name == BEGIN else (END_WORDS, END_OUT)
        self._names = order
        if name == BEGIN:
            outputs |= program.hints
        self._outputs = [order.index(word) for word in order if word in outputs]

    def is_asked_in_kernel(self, words: list[int]) -> bool:
        """Tell whether the kernel is there and its code was made for such inputs."""
        return self._in_kernel is not None and is_guaranteed(words)

    def answers(self, words: list[int]) -> dict[str, list[int]]:
        """Ask in every way; status first, then the answers if there are any."""
        record = list(words)
        status = self._interpreted(record)
        found = {"interpreted": [status, *(record[i] for i in self._outputs if status == HANDLED)]}
        found["compiled"] = self._ask(words, lambda: call1(self._address, self._region.addr))
        if self._in_kernel is not None and is_guaranteed(words):
            in_kernel = self._in_kernel
            found["as BPF"] = self._ask(words, lambda: in_kernel.run(self._ctx))
        return found

    def _ask(self, words: list[int], run: Callable[[], int]) -> list[int]:
        for index, word in enumerate(words):
            self._ctx[index] = word
        status = run()
        return [status, *(self._ctx[i] for i in self._outputs if status == HANDLED)]

    def differ(self, words: list[int]) -> bool:
        found = self.answers(words)
        expected = found["interpreted"]
        if found["compiled"] != expected:
            return True
        # A BPF program says HANDLED or FALLBACK, which is what every other status means.
        meant = expected if expected[0] == HANDLED else [FALLBACK]
        return found.get("as BPF", meant) != meant

    def words(self, words: list[int]) -> str:
        *first, last = [f"{answer} {how}" for how, answer in self.answers(words).items()]
        given = " ".join(
            f"{name}={value}" for name, value in zip(self._names, words, strict=False) if value
        )
        return f"{self._name} answers {', '.join(first)} and {last} for {given}"


def _smaller(words: list[int], differ: Callable[[list[int]], bool]) -> list[int]:
    """Make *words* smaller, one by one, while they still differ."""
    for place in range(len(words)):
        lowest = LOWEST.get(place, 0)
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
