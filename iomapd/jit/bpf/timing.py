# SPDX-License-Identifier: MIT
"""How long one mapping takes in the kernel.

``BPF_PROG_TEST_RUN`` does not repeat programs of type SYSCALL (EINVAL, Linux 6.18), and one run
of it costs a thousand times what a mapping does.  So the program is put behind a loop that calls
it for one block after the other; the loop runs with many rounds and with none, and the
difference is what the rounds cost.

    loop     r6 = ctx, r7 = rounds, r8 = count, r9 = pos
    next     may_goto done            the bound that the verifier asks for, Linux 6.9
             if r7 <= 0 goto done
             ctx.pos = r9, ctx.count = r8
             call the program
             r9 += 4096, r8 -= 4096, r7 -= 1, goto next
    done     return 0
    program  as it is: its jumps are relative

A program with loops of its own may be too much for the verifier behind another one.  Then as
many calls as it takes stand one after the other, and runs are repeated more often.
"""

from __future__ import annotations

import ctypes
import struct
import time
from typing import TYPE_CHECKING, Final

from iomapd.abi.program import CTX_COUNT, CTX_POS, CTX_WORDS, NR_WORDS, WORD
from iomapd.abi.units import BLOCK
from iomapd.jit.bpf.kernel import KernelProgram, VerifierError

if TYPE_CHECKING:
    from collections.abc import Mapping

ROUNDS_MAX: Final = 1 << 13
TURNS: Final = range(9)
CALLS: Final = (128, 32, 8)
"""How many calls in a row are tried where a loop is refused."""

RUNS: Final = range(100)
"""Runs in a turn with calls in a row: each is so short that most of it is getting there."""

_ROUNDS_WORD: Final = NR_WORDS - 1  # reserved: no program reads it


_LOAD, _STORE, _MOVE, _SET, _ADD, _SUBTRACT = 0x79, 0x7B, 0xBF, 0xB7, 0x07, 0x17
_GOTO, _MAY_GOTO, _UNLESS_POSITIVE, _CALL, _EXIT = 0x05, 0xE5, 0xD5, 0x85, 0x95


def _one(opcode: int, dst: int = 0, src: int = 0, offset: int = 0, constant: int = 0) -> bytes:
    return struct.pack("<BBhi", opcode, src << 4 | dst, offset, constant)


_BEGIN = [
    _one(_MOVE, 6, 1),
    _one(_LOAD, 7, 6, _ROUNDS_WORD * WORD),
    _one(_LOAD, 8, 6, CTX_COUNT),
    _one(_SET, 9, constant=0),
]
_DONE = [_one(_SET, 0, constant=0), _one(_EXIT)]


def _ask(distance: int) -> list[bytes]:
    """Return a call of the program, *distance* instructions behind it, for the next block."""
    return [
        _one(_STORE, 6, 9, CTX_POS),
        _one(_STORE, 6, 8, CTX_COUNT),
        _one(_MOVE, 1, 6),
        _one(_CALL, src=1, constant=distance + 2),
        _one(_ADD, 9, constant=BLOCK),
        _one(_SUBTRACT, 8, constant=BLOCK),
    ]


def _loop() -> bytes:
    again = [_one(_SUBTRACT, 7, constant=1), _one(_GOTO, offset=-10)]
    body = [*_ask(len(again) + len(_DONE)), *again]
    bounds = [_one(_MAY_GOTO, offset=len(body) + 1), _one(_UNLESS_POSITIVE, 7, offset=len(body))]
    return b"".join([*_BEGIN, *bounds, *body, *_DONE])


def _row(calls: int) -> bytes:
    size = len(_ask(0))
    asks = [_ask((calls - number) * size + len(_DONE)) for number in range(1, calls + 1)]
    skip = _one(_UNLESS_POSITIVE, 7, offset=calls * size)
    return b"".join([*_BEGIN, skip, *(word for ask in asks for word in ask), *_DONE])


def time_call(code: bytes, inputs: Mapping[str, int]) -> list[float] | None:
    """Measure one mapping, the call and the loop around it included.

    Args:
        code: of an ``iomap_begin`` that the kernel has accepted.
        inputs: fields of its record, by name; blocks are asked for from the start of the extent.

    Returns:
        Nanoseconds, once per turn; None when the verifier takes neither the loop, as before Linux
        6.9 or when the program has loops of its own, nor a few calls in a row.
    """
    length = inputs["strip_length"] * inputs["nr_strips"]
    inputs = {**inputs, "count": length}
    nr_blocks = length // BLOCK
    found = _time_rounds(_loop() + code, inputs, min(ROUNDS_MAX, nr_blocks), range(1))
    for calls in CALLS:
        if found is None and calls <= nr_blocks:
            found = _time_rounds(_row(calls) + code, inputs, calls, RUNS)
    return found


def _time_rounds(
    code: bytes, inputs: Mapping[str, int], rounds: int, runs: range
) -> list[float] | None:
    """Time *rounds* calls, the best of *runs* in each turn; None when the verifier refuses."""
    try:
        with KernelProgram(code, "iomap_rounds") as program:
            idle = min(_time(program, inputs, 0) for _ in (*TURNS, *runs))
            best = [min(_time(program, inputs, rounds) for _ in runs) for _ in TURNS]
            return [max(ns - idle, 0) / rounds for ns in best]
    except VerifierError:
        return None


def _time(program: KernelProgram, inputs: Mapping[str, int], rounds: int) -> int:
    """Return nanoseconds of one run."""
    record = (ctypes.c_int64 * NR_WORDS)()
    for name, value in inputs.items():
        record[CTX_WORDS.index(name)] = value
    record[_ROUNDS_WORD] = rounds
    start = time.perf_counter_ns()
    program.run(record)
    return time.perf_counter_ns() - start
