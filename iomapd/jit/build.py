# SPDX-License-Identifier: MIT
"""From plain functions to one object file, by way of numba and LLVM.

Each entry is compiled in nopython mode and gets a C function of its own name that calls it.
All are joined into one module; what is not an entry becomes internal, so that LLVM can see that
no exception is left; and what still refers to anything outside is refused.  An object file
that needs nothing but memcpy can be loaded without numba, and cannot reach the interpreter.
"""

from __future__ import annotations

import ctypes
import re
import warnings
from typing import TYPE_CHECKING, Any, Final

import llvmlite.binding as llvm
import numba
from numba.extending import register_jitable

from iomapd.jit import division, machine, natives
from iomapd.jit.sources import CompileError, reachable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FunctionType

assert natives  # imported for what it registers

# Never returned on purpose by a compiled function; see abi: zero is not success.
CRASHED: Final = 0

# What LLVM may make of plain loops; the C library has them.
_ALLOWED_OUTSIDE: Final = frozenset({"memcpy", "memmove", "memset"})

# numpy's error model: x // 0 is 0 instead of an exception that nobody could catch.
_ERROR_MODEL: Final = "numpy"

# numba keeps functions apart when it is to remember their lines.
_NOINLINE: Final = re.compile(r"^(attributes #\d+ = .*)\bnoinline ", re.MULTILINE)

# numba links every function that it compiles, to no use here.  Divisions and programs come later,
# so until then their names mean something that ends the process if it were ever called.
_ABORT: Final = ctypes.cast(ctypes.CDLL(None).abort, ctypes.c_void_p).value
llvm.add_symbol(division.DIVIDE, _ABORT)
llvm.add_symbol(division.MODULO, _ABORT)
llvm.add_symbol(natives.ANSWER, _ABORT)

_registered: set[FunctionType] = set()


def build_object(name: str, entries: Sequence[Callable[..., int]]) -> bytes:
    """Compile *entries* and everything they call.

    Returns:
        An ELF object with one function per entry, named like it; all arguments and the
        result are int64.

    Raises:
        CompileError: a function breaks a rule of the compiled rooms, or does not compile.
    """
    module, target = build_module(name, entries)
    return bytes(target.emit_object(module))


def build_module(
    name: str, entries: Sequence[Callable[..., int]], *, inline: bool = False
) -> tuple[Any, Any]:
    """Compile as `build_object` does, up to LLVM's optimised module.

    Args:
        name: of the unit.
        entries: plain functions with distinct names.
        inline: leave no calls between the functions, whatever size that makes.

    Returns:
        The module, and the target machine that emits it.

    Raises:
        CompileError: as `build_object`.
    """
    module = link_entries(name, entries)
    exported = [entry.__name__ for entry in entries]
    return module, finish_module(name, module, exported, inline=inline)


def link_entries(name: str, entries: Sequence[Callable[..., int]], *, lines: bool = False) -> Any:
    """Let numba compile *entries*; what it makes of them is for no machine in particular yet.

    Args:
        name: of the unit.
        entries: plain functions with distinct names.
        lines: keep the line that each instruction comes from.

    Returns:
        One module with all of it; divisions are still calls (see `division`).

    Raises:
        CompileError: as `build_object`.
    """
    _register(reachable(entries), lines=lines)
    module = llvm.parse_assembly(f'source_filename = "{name}"')
    target = machine.target_machine()
    module.triple = machine.triple()
    module.data_layout = str(target.target_data)
    for entry in entries:
        module.link_in(_compile(entry, lines=lines))
    return module


def finish_module(name: str, module: Any, exported: Sequence[str], *, inline: bool = False) -> Any:
    """Make what `link_entries` linked into code of this processor, and optimise it.

    Returns:
        The target machine that emits it.

    Raises:
        CompileError: it refers to something outside.
    """
    target = machine.target_machine()
    module.link_in(llvm.parse_assembly(division.PROCESSOR))
    make_internal(module, set(exported), inline=inline)
    optimise(module, target)
    _refuse_outside_references(module, name)
    return target


def _register(functions: Sequence[FunctionType], *, lines: bool) -> None:
    for function in functions:
        # Registering twice would give numba two equal candidates for each call.
        if function not in _registered:
            # Nobody calls it from outside: wrappers would be an eighth of all the work.
            register_jitable(
                error_model=_ERROR_MODEL,
                debug=lines,
                no_cpython_wrapper=True,
                no_cfunc_wrapper=True,
            )(function)
            _registered.add(function)


def _compile(entry: Callable[..., int], *, lines: bool) -> Any:
    """Compile one entry; return its module with a C function around it."""
    count = entry.__code__.co_argcount
    module, inner = _compile_inner(entry, numba.types.int64, lines=lines)
    module.link_in(llvm.parse_assembly(_wrapper(entry.__name__, inner, count)))
    return module


def link_answer(function: Callable[..., tuple[int, ...]]) -> Any:
    """Let numba compile what `native.calls.linked_answer` is to call.

    Args:
        function: takes four integers and returns as many.

    Returns:
        A module with that function for `link_entries`' modules to be linked with.

    Raises:
        CompileError: as `build_object`.
    """
    _register(reachable([function]), lines=False)
    tuple_of: Any = numba.types.UniTuple
    kind = tuple_of(numba.types.int64, natives.ANSWER_WORDS)
    module, inner = _compile_inner(function, kind, lines=False)
    module.link_in(llvm.parse_assembly(_answer_wrapper(inner)))
    return module


def _compile_inner(entry: Callable[..., Any], kind: Any, *, lines: bool) -> tuple[Any, str]:
    """Compile one function; return its module and the name that numba gave it."""
    signature = kind(*[numba.types.int64] * entry.__code__.co_argcount)
    njit: Any = numba.njit  # its annotations leave out the two switches for wrappers
    compiler = njit(
        signature,
        nogil=True,
        error_model=_ERROR_MODEL,
        debug=lines,
        no_cpython_wrapper=True,
        no_cfunc_wrapper=True,
    )
    if getattr(numba.config, "DISABLE_JIT", 0):
        raise CompileError("NUMBA_DISABLE_JIT is set; iomapd cannot run without compiled relays")
    try:
        with warnings.catch_warnings():
            # What is compiled with lines comes from text, and the text is in no file.
            warnings.simplefilter("ignore", numba.core.errors.NumbaDebugInfoWarning)
            (result,) = compiler(entry).overloads.values()
    except numba.core.errors.NumbaError as error:
        raise CompileError(f"{entry.__name__} does not compile: {error}") from error
    # An attribute of no meaning takes its place, for a group of none is a syntax error.
    text = _NOINLINE.sub(r'\1"lines" ', str(result.library.get_llvm_str()))
    return llvm.parse_assembly(text), str(result.fndesc.llvm_func_name)


def _wrapper(name: str, inner: str, count: int) -> str:
    """The C function: numba's own convention returns a status and writes the result."""
    declared = ", ".join(["ptr", "ptr"] + ["i64"] * count)
    given = ", ".join(f"i64 %a{index}" for index in range(count))
    passed = ", ".join(["ptr %result", "ptr %exception"] + [f"i64 %a{i}" for i in range(count)])
    return f"""
declare i32 @{inner}({declared})
define i64 @{name}({given}) {{
  %result = alloca i64
  %exception = alloca ptr
  %status = call i32 @{inner}({passed})
  %returned = icmp eq i32 %status, 0
  %value = load i64, ptr %result
  %answer = select i1 %returned, i64 %value, i64 {CRASHED}
  ret i64 %answer
}}
"""


def _answer_wrapper(inner: str) -> str:
    """The function `natives.ANSWER`; what is not returned is a status that is no success."""
    given = ", ".join(f"i64 %a{index}" for index in range(4))
    return f"""
declare i32 @{inner}(ptr, ptr, i64, i64, i64, i64)
define void @{natives.ANSWER}(ptr %result, {given}) {{
  %exception = alloca ptr
  %status = call i32 @{inner}(ptr %result, ptr %exception, {given})
  %returned = icmp eq i32 %status, 0
  br i1 %returned, label %done, label %crashed
crashed:
  store i64 {CRASHED}, ptr %result
  br label %done
done:
  ret void
}}
"""


def make_internal(module: Any, exported: set[str], *, inline: bool) -> None:
    """Hide all but *exported* from the outside, and from calls as well when *inline*."""
    for function in module.functions:
        if not function.is_declaration and function.name not in exported:
            function.linkage = "internal"
            if inline:
                function.add_function_attribute("alwaysinline")
    for variable in module.global_variables:
        if not variable.is_declaration:
            variable.linkage = "internal"


def strip_lines(module: Any) -> None:
    """Forget source lines: debug information makes objects larger, and nobody reads it there."""
    passes = llvm.create_new_module_pass_manager()
    passes.add_strip_symbols_pass()
    builder = llvm.create_pass_builder(machine.target_machine(), llvm.PipelineTuningOptions())
    passes.run(module, builder)


def optimise(module: Any, target: Any, level: int = machine.OPTIMISATION) -> None:
    """Run LLVM's passes for *target*."""
    options = llvm.create_pipeline_tuning_options(speed_level=level)
    passes = llvm.create_pass_builder(target, options)
    passes.getModulePassManager().run(module, passes)


def _refuse_outside_references(module: Any, name: str) -> None:
    outside = {f.name for f in module.functions if f.is_declaration}
    outside |= {v.name for v in module.global_variables if v.is_declaration}
    left = sorted(n for n in outside - _ALLOWED_OUTSIDE if not n.startswith("llvm."))
    if left:
        raise CompileError(f"unit {name} still refers to {', '.join(left)}; it must stand alone")
