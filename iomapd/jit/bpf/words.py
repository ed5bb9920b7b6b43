# SPDX-License-Identifier: MIT
"""What the verifier says, in the words of somebody who wrote a mapping program.

The log names instructions and registers.  The line of the source comes from the last instruction
it names; the rule from what its last lines say.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from iomapd.jit.bpf.elf import Code
    from iomapd.jit.bpf.kernel import VerifierError

_INSTRUCTION: Final = re.compile(r"^(\d+): \([0-9a-f]{2}\)", re.MULTILINE)
_FIGURES: Final = re.compile(r"^(verification time|stack depth|processed \d+ insns)")
_NOTES: Final = re.compile(
    r"^(;|\d+: [R(]|from \d+ to \d+|mark_precise|cur state|old state|func#|R\d+(_w)?=|$)"
)
_QUOTED_MAX: Final = 200

_UNKNOWN: Final = r"unknown opcode|unknown insn|uses reserved fields"

# From the verifier's sentence to the rule behind it; kernel/bpf/verifier.c.
_RULES: Final = (
    (
        r"BPF program is too large|program is too big",
        "the kernel's verifier follows every path of a program, at most 1000000 instructions "
        "in all, and this one has more; fewer conditions inside loops help",
    ),
    (
        r"jumps is too complex",
        "the kernel's verifier keeps at most 8192 branches open at a time, and this program "
        "has more; shorter loops and fewer conditions inside them help",
    ),
    (
        r"infinite loop detected|back-edge",
        "the kernel's verifier does not see the loop end",
    ),
    (
        r"combined stack size|stack depth|invalid (write|read).* stack",
        "a BPF program has 512 bytes of stack, and this one needs more; fewer variables that "
        "are alive at the same time help",
    ),
    (_UNKNOWN, "this kernel is older than the instructions that LLVM uses"),
)


def refusal_of(error: VerifierError, code: Code) -> tuple[int | None, str]:
    """Return the line of the source if it can be found, and one sentence.

    Args:
        error: why the kernel did not take it.
        code: what was loaded.
    """
    named = _INSTRUCTION.findall(error.log)
    line = code.line_of(int(named[-1])) if named else None
    said = last_words(error.log)
    rule = next((rule for pattern, rule in _RULES if re.search(pattern, said)), "")
    rule = rule or "the kernel's verifier refuses the program"
    return line.number if line else None, f"{rule} (it says: {said or error})"


def is_about_age(error: VerifierError) -> bool:
    """Tell whether the kernel does not know an instruction that is new."""
    return re.search(_UNKNOWN, last_words(error.log)) is not None


def last_words(log: str) -> str:
    """Return what the verifier concluded: the end of its log without listings and figures."""
    lines = [line.strip() for line in log.splitlines()]
    sentences = [line for line in lines if not (_FIGURES.match(line) or _NOTES.match(line))]
    return "; ".join(sentences[-2:])[:_QUOTED_MAX]
