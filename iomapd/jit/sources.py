# SPDX-License-Identifier: MIT
"""What a unit is made of, and the key that names it.

numba's own cache looks at the file of the function it compiles and misses changes in the
functions that one calls.  Here the key covers every function that can be reached, with its
constants, and everything else that shapes the object file: the compiler room itself, the
versions of numba, llvmlite and Python, and the processor.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib.util
import sys
from pathlib import Path
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, Final

from iomapd.errors import IomapdError
from iomapd.jit import machine
from iomapd.native import bits, calls, integers, memory, syscalls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

OBJECT_ABI: Final = 1
"""How entries are called (all arguments and the result int64); bumped when that changes."""

# Replaced by machine instructions in natives.py: the walk stops here.
NATIVES: Final[frozenset[Callable[..., Any]]] = frozenset(
    {
        memory.load8, memory.load16, memory.load32, memory.load64,
        memory.store8, memory.store16, memory.store32, memory.store64,
        memory.load_constant, memory.load_acquire, memory.store_release, memory.fence,
        memory.exchange, memory.fetch_add, memory.fetch_or, memory.fetch_and, memory.fetch_max,
        memory.copy, memory.clear, bits.trailing_zeros, bits.bit_length, bits.cycles,
        bits.likely,
        calls.call1, calls.call2, calls.call6, calls.linked_answer, syscalls.syscall,
        integers.add, integers.subtract, integers.multiply, integers.divide, integers.modulo,
    }
)  # fmt: skip


class CompileError(IomapdError):
    """A function cannot be compiled: it breaks a rule of the compiled rooms."""


def reachable(entries: Iterable[Callable[..., object]]) -> list[FunctionType]:
    """List every plain function that *entries* can call, callees first, entries included.

    Raises:
        CompileError: a function refers to something that cannot be compiled; see `_globals`.
    """
    found: dict[FunctionType, None] = {}
    for entry in entries:
        _visit(entry, found)
    return list(found)


def _visit(function: Callable[..., object], found: dict[FunctionType, None]) -> None:
    if function in found or function in NATIVES:
        return
    if not isinstance(function, FunctionType):
        raise CompileError(f"{function!r} is not a plain function; only those are compiled")
    if function.__closure__ or function.__defaults__ or function.__kwdefaults__:
        raise CompileError(f"{_place(function)} has defaults or a closure; neither enters the key")
    for _, value in _globals(function):
        if isinstance(value, FunctionType):
            _visit(value, found)
    found[function] = None


def _globals(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield the global names that *function* uses, with their values.

    Raises:
        CompileError: a name stands for neither an int nor a plain function.  Modules are
            refused too: which of their attributes are used would not be seen here.
    """
    names = sorted(set(function.__code__.co_names))
    for name in names:
        if name not in function.__globals__:
            continue
        value = function.__globals__[name]
        if not isinstance(value, int | FunctionType):
            raise CompileError(
                f"{_place(function)} uses {name}, a {type(value).__name__};"
                " compiled functions use ints and plain functions, imported one by one"
            )
        yield name, value
    for name in names:
        if name not in function.__globals__ and not hasattr(builtins, name):
            raise CompileError(f"{_place(function)} uses {name}, which is not defined")


def unit_key(name: str, entries: Sequence[Callable[..., int]]) -> str:
    """Return the hex SHA-256 that names the object file of this unit on this machine."""
    digest = hashlib.sha256()

    def add(*parts: object) -> None:
        digest.update(repr(parts).encode())

    add(name, OBJECT_ABI, [entry.__name__ for entry in entries])
    for function in reachable(entries):
        add(_place(function), _code_identity(function.__code__))
        for global_name, value in _globals(function):
            add(global_name, _place(value) if isinstance(value, FunctionType) else value)
    add_environment(digest)
    return digest.hexdigest()


def add_environment(digest: hashlib._Hash) -> None:
    """Add what shapes every object file: compiler room, versions, processor."""
    parts: list[object] = [sys.implementation.cache_tag, sys.version_info]
    parts += [machine.llvmlite_version(), machine.cpu(), machine.triple()]
    digest.update(repr(parts).encode())
    for path in _compiler_files():
        digest.update(path.read_bytes())


def _code_identity(code: CodeType) -> tuple[object, ...]:
    """Everything in *code* that decides what it computes; file and line numbers do not."""
    constants = [
        _code_identity(const) if isinstance(const, CodeType) else repr(const)
        for const in code.co_consts
    ]
    return code.co_code, constants, code.co_names, code.co_varnames, code.co_argcount


def _compiler_files() -> list[Path]:
    """The files whose change must change every key: this room, and numba's version."""
    room = Path(__file__).parent
    spec = importlib.util.find_spec("numba")  # finds, does not import
    if spec is None or spec.origin is None:
        raise CompileError("numba is not installed; it is needed to compile the transport")
    return [*sorted(room.glob("*.py")), Path(spec.origin).with_name("_version.py")]


def _place(function: FunctionType) -> str:
    return f"{function.__module__}.{function.__qualname__}"
