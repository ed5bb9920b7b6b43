# SPDX-License-Identifier: MIT
"""Programs as BPF: listings, objects for bpftool, and what a mapping costs in the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from iomapd.abi.program import BEGIN
from iomapd.errors import ProgramError, UsageError
from iomapd.jit.bpf.disassemble import disassemble
from iomapd.jit.bpf.elf import read_object
from iomapd.jit.bpf.kernel import why_not
from iomapd.jit.bpf.timing import time_call

if TYPE_CHECKING:
    from pathlib import Path

    from iomapd.jit.admission import Examination, Geometry

_INPUTS: Final = ("unit", "nr_strips", "strip_length", "seed")


def listing_of(found: Examination) -> str:
    """Return the BPF code of an examined program, as ``bpftool prog dump xlated`` writes it.

    Raises:
        ProgramError: it was refused before there was any.
    """
    return "\n\n".join(disassemble(code) for code in read_object(_object(found)).values())


def write_object(found: Examination, path: Path) -> int:
    """Write the ELF object that ``bpftool prog load FILE /sys/fs/bpf/NAME type syscall`` takes.

    Returns:
        Its size, bytes.

    Raises:
        ProgramError: the program was refused before there was any.
        UsageError: the file cannot be written.
    """
    data = _object(found)
    try:
        path.write_bytes(data)
    except OSError as error:
        raise UsageError(f"--emit {path}: {error.strerror}") from None
    return len(data)


def time_in_kernel(found: Examination, geometry: Geometry) -> tuple[list[float], str]:
    """Measure a mapping of an examined program in the kernel.

    Returns:
        Nanoseconds of some turns, or none and the reason.
    """
    reason = why_not()
    if reason:
        return [], reason
    inputs = {name: getattr(geometry, name) for name in _INPUTS}
    inputs |= {f"p{index}": value for index, value in enumerate(geometry.params)}
    turns = time_call(read_object(_object(found))[BEGIN].code, inputs)
    return turns or [], "" if turns else "the verifier does not take it in a loop"


def _object(found: Examination) -> bytes:
    if not found.bpf:
        found.admission.require()
        raise ProgramError(f"program {found.admission.name} has no BPF code")
    return found.bpf
