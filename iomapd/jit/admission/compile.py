# SPDX-License-Identifier: MIT
"""Stage 3, compile: numba and LLVM make one object file, and what is left in it is checked.

Runs in the child only: this module imports numba.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import llvmlite.binding as llvm

from iomapd.errors import ProgramError
from iomapd.jit.admission.lower import answer_of, functions_of, lower, lower_answer
from iomapd.jit.admission.source import refusal
from iomapd.jit.admission.walks import WALK, linked_walk
from iomapd.jit.build import finish_module, link_answer, link_entries, strip_lines
from iomapd.jit.sources import CompileError

if TYPE_CHECKING:
    from iomapd.jit.admission.tree import ParsedProgram

_INSTRUCTION: Final = re.compile(r"^\t[a-z]", re.MULTILINE)
WALK_MAX: Final = 512
"""Instructions up to which a program gets a walk of its own; beside more, a call is nothing."""
_FLOATS: Final = ("half", "bfloat", "float", "double", "fp128")


class Compiled(NamedTuple):
    """An object file with one function per entry, the two listings of it, and where it came from.

    Attributes:
        object: ELF, for this processor; most programs have their walk in it, too.
        ir: LLVM IR of the entries, optimised.
        assembly: what the object says of the entries.
        linked: LLVM IR as numba left it, with source lines, for other targets.
        has_walk: whether the object has a walk with the program in it.
    """

    object: bytes
    ir: str
    assembly: str
    linked: str
    has_walk: bool

    @property
    def instructions(self) -> int:
        """Machine instructions of all entries."""
        return _count_instructions(self.assembly)


def compile_program(program: ParsedProgram) -> Compiled:
    """Compile *program*.

    Raises:
        ProgramError: numba or LLVM refuse it, or the result has calls, data or fractions left.
    """
    functions = functions_of(lower(program))
    try:
        module = link_entries("program", list(functions.values()), lines=True)
        linked = str(module)
        strip_lines(module)
        target = finish_module("program", module, list(functions), inline=True)
    except CompileError as error:
        raise _refused(program, str(error).splitlines()[0]) from error
    _check(program, module)
    ir = str(module)  # before the emitter prepares the module for its own use
    assembly = str(target.emit_assembly(module))
    whole = None
    if _count_instructions(assembly) <= WALK_MAX:
        whole = _with_walk(program, linked, list(functions))
    code = bytes(target.emit_object(whole or module))
    return Compiled(code, ir, assembly, linked, has_walk=whole is not None)


def _count_instructions(assembly: str) -> int:
    return len(_INSTRUCTION.findall(assembly))


def _with_walk(program: ParsedProgram, linked: str, names: list[str]) -> Any:
    """Return the optimised module of *program* and its walk; None if LLVM makes too much of it."""
    whole = llvm.parse_assembly(linked)
    try:
        whole.link_in(link_answer(answer_of(lower_answer(program))))
        whole.link_in(llvm.parse_bitcode(linked_walk()))
        strip_lines(whole)
        finish_module("program", whole, [*names, WALK], inline=True)
        _check(program, whole)
    except (CompileError, ProgramError):
        # The program alone has passed, and is called by pointer then.
        return None
    return whole


def _check(program: ParsedProgram, module: Any) -> None:
    if list(module.global_variables):
        sentence = "the code keeps data; LLVM makes a table of many conditions on one value"
        raise _refused(program, sentence)
    for function in module.functions:
        for block in function.blocks:
            for instruction in block.instructions:
                kind = str(instruction.type)
                if any(word in kind for word in _FLOATS):
                    raise _refused(program, f"the code calculates with {kind}")
                if instruction.opcode in ("call", "invoke"):
                    _check_call(program, list(instruction.operands)[-1].name)


def _check_call(program: ParsedProgram, callee: str) -> None:
    if not callee.startswith("llvm."):
        raise _refused(program, f"the code still calls {callee or 'something computed'}")


def _refused(program: ParsedProgram, sentence: str) -> Exception:
    return refusal(program.file, 1, f"compile: {sentence}")
