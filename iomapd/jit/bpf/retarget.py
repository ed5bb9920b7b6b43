# SPDX-License-Identifier: MIT
"""The same LLVM IR that becomes x86 code, made into BPF.

    numba's module --> divisions, wrappers linked in --> LLVM's passes --> ELF object
     (build.py)         (division.py, wrapper.py)         for BPF          "syscall", BTF

Nothing of the program is compiled twice: what the kernel's verifier reads comes from the module
that the x86 code comes from.  Runs in the limited child: LLVM's BPF back end prints and exits
where it would need more than 512 bytes of stack.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, Final

import llvmlite.binding as llvm

from iomapd.jit import division
from iomapd.jit.bpf.wrapper import INNER, file_metadata, wrapper_of
from iomapd.jit.build import make_internal, optimise

if TYPE_CHECKING:
    from iomapd.jit.admission.tree import ParsedProgram

TRIPLE: Final = "bpfel"

VERSIONS: Final = ("v4", "v3", "v2", "v1")
"""LLVM's names of instruction sets, the newest first: Linux 6.6, 5.1, 4.14, all."""

# Small code, as clang makes it for BPF: loops are verified round by round anyway.
_LEVEL: Final = 2

_FILE: Final = re.compile(r"!DIFile\(filename: [^)]*\)")


def bpf_object(program: ParsedProgram, linked: str, version: str = VERSIONS[0]) -> bytes:
    """Return *program* as an ELF object with a BPF program per entry, BTF and lines.

    LLVM ends this process when the stack does not suffice.

    Args:
        program: as parsed.
        linked: LLVM IR as numba left it, with lines (`build.link_entries`).
        version: instruction set, one of `VERSIONS`.
    """
    target = _target(version)
    # Lines are those of the user's program, so that is their file.
    module = llvm.parse_assembly(_FILE.sub(lambda _: file_metadata(program), linked))
    module.triple = TRIPLE
    module.data_layout = str(target.target_data)
    for name in program.entries:
        module.get_function(name).name = INNER + name
    module.link_in(llvm.parse_assembly(division.KERNEL))
    module.link_in(llvm.parse_assembly(wrapper_of(program)))
    make_internal(module, {*program.entries, "_license", "llvm.used"}, inline=True)
    optimise(module, target, _LEVEL)
    return bytes(target.emit_object(module))


@functools.cache
def _target(version: str) -> Any:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple(TRIPLE)
    return target.create_target_machine(cpu=version, opt=_LEVEL)
