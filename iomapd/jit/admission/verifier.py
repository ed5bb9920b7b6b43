# SPDX-License-Identifier: MIT
"""Stage 4, verifier: the same code as BPF, examined by the verifier of the running kernel.

Nothing of the kernel runs mapping programs yet.  The stage shows that it could, and the verifier
is a second opinion on what compile promises: that no memory but the record is touched, and
that every loop ends.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Final

from iomapd.abi.program import BEGIN
from iomapd.errors import ProgramError
from iomapd.jit.admission.source import refusal
from iomapd.jit.bpf.elf import ObjectError, read_object
from iomapd.jit.bpf.kernel import KernelProgram, VerifierError, why_not
from iomapd.jit.bpf.retarget import VERSIONS, bpf_object
from iomapd.jit.bpf.timing import time_call
from iomapd.jit.bpf.words import is_about_age, refusal_of

if TYPE_CHECKING:
    from iomapd.jit.admission.tree import ParsedProgram
    from iomapd.jit.bpf.elf import Code

# Strips so long that no round leaves the extent.
_TIMED: Final = {"unit": 64 << 10, "nr_strips": 4, "strip_length": 1 << 30, "seed": 1}


class OldKernelError(ProgramError):
    """The kernel does not know an instruction of this set; an older set may do."""


@dataclass(slots=True)
class Verification:
    """A program as BPF.

    Attributes:
        object: ELF, for bpftool and for listings.
        version: LLVM's name of the instruction set.
        codes: the programs in it, by entry.
        loaded: those that the kernel took: all, or none when `why_not` says why.
        why_not: why the kernel was not asked; empty when it was.
    """

    object: bytes
    version: str
    codes: dict[str, Code]
    loaded: dict[str, KernelProgram] = field(default_factory=dict)
    why_not: str = ""

    @property
    def detail(self) -> str:
        """The stage's sentence."""
        size = " + ".join(str(code.instructions) for code in self.codes.values())
        words = f"{size} BPF instructions (cpu {self.version})"
        if self.why_not:
            return f"{self.why_not}; {words}"
        found = [program.verified for program in self.loaded.values()]
        processed = sum(one.processed for one in found)
        stack, time = max(one.stack for one in found), sum(one.microseconds for one in found)
        return f"{words}, {processed} processed, {stack} bytes of stack, {time / 1000:.1f} ms"

    def time_call(self) -> float | None:
        """Return nanoseconds per mapping in the kernel, or None when that cannot be measured."""
        found = time_call(self.codes[BEGIN].code, _TIMED)
        return median(found) if found else None


def verify(program: ParsedProgram, linked: str) -> Verification:
    """Make BPF of *program* and let the kernel verify it, if it can be asked.

    LLVM ends this process where a BPF program would need more than 512 bytes of stack.

    Args:
        program: as parsed.
        linked: LLVM IR as numba left it.

    Raises:
        ProgramError: it is no BPF program, or the verifier refuses it.
    """
    reason = why_not()
    first = _translated(program, linked, VERSIONS[0])
    if reason:
        first.why_not = reason
        return first
    for version in VERSIONS[1:]:
        try:
            return _load(first, program)
        except OldKernelError:
            first = _translated(program, linked, version)
    return _load(first, program)


def _translated(program: ParsedProgram, linked: str, version: str) -> Verification:
    made = bpf_object(program, linked, version)
    try:
        return Verification(made, version, read_object(made))
    except ObjectError as error:
        raise refusal(program.file, 1, f"verifier: {error}") from error


def _load(found: Verification, program: ParsedProgram) -> Verification:
    for name, code in found.codes.items():
        try:
            found.loaded[name] = KernelProgram(code.code, name)
        except VerifierError as error:
            for loaded in found.loaded.values():
                loaded.close()
            line, sentence = refusal_of(error, code)
            line = line or program.functions[name].line
            said = refusal(program.file, line, f"verifier: {sentence}")
            raise OldKernelError(str(said)) if is_about_age(error) else said from error
    return found
