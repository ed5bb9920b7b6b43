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
_ROUNDS_WORD: Final = NR_WORDS - 1  # reserved: no program reads it


def _loop() -> bytes:
    def one(opcode: int, dst: int = 0, src: int = 0, offset: int = 0, constant: int = 0) -> bytes:
        return struct.pack("<BBhi", opcode, src << 4 | dst, offset, constant)

    load, store, move, add, subtract = 0x79, 0x7B, 0xBF, 0x07, 0x17
    return b"".join(
        [
            one(move, 6, 1),
            one(load, 7, 6, _ROUNDS_WORD * WORD),
            one(load, 8, 6, CTX_COUNT),
            one(0xB7, 9, constant=0),
            one(0xE5, offset=9),  # may_goto done
            one(0xD5, 7, offset=8, constant=0),  # if r7 s<= 0 goto done
            one(store, 6, 9, CTX_POS),
            one(store, 6, 8, CTX_COUNT),
            one(move, 1, 6),
            one(0x85, src=1, constant=6),  # call program
            one(add, 9, constant=BLOCK),
            one(subtract, 8, constant=BLOCK),
            one(subtract, 7, constant=1),
            one(0x05, offset=-10),  # goto next
            one(0xB7, 0, constant=0),
            one(0x95),
        ]
    )


def time_call(code: bytes, inputs: Mapping[str, int]) -> list[float] | None:
    """Measure one mapping, the call and the loop around it included.

    Args:
        code: of an ``iomap_begin`` that the kernel has accepted.
        inputs: fields of its record, by name; blocks are asked for from the start of the extent.

    Returns:
        Nanoseconds, once per turn; None when the verifier does not take the loop: before Linux
        6.9, or because the program is too complex to be met in a loop.
    """
    length = inputs["strip_length"] * inputs["nr_strips"]
    rounds = min(ROUNDS_MAX, length // BLOCK)
    inputs = {**inputs, "count": length}
    try:
        with KernelProgram(_loop() + code, "iomap_rounds") as program:
            idle = min(_time(program, inputs, 0) for _ in TURNS)
            return [max(_time(program, inputs, rounds) - idle, 0) / rounds for _ in TURNS]
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
