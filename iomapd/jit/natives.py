# SPDX-License-Identifier: MIT
"""Machine instructions for ``native/``: what numba puts in place of each Python twin.

Importing this module registers them with numba; only build.py does so.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from iomapd.jit import division
from iomapd.native import bits, calls, integers, memory, syscalls

if TYPE_CHECKING:
    from collections.abc import Callable

_I64: Final = ir.IntType(64)

ANSWER: Final = "iomapd.answer"
"""The name by which compiled code calls the program that will be linked in."""
ANSWER_WORDS: Final = 4

# The kernel destroys rcx and r11 and may write any memory the arguments point to.
_SYSCALL: Final = {
    "x86_64": ("syscall", "={rax},{rax},{rdi},{rsi},{rdx},{r10},{r8},{r9},~{rcx},~{r11},~{memory}")
}


def _load(bits: int, ordering: str | None = None) -> Any:
    """Make the intrinsic for a zero-extended load of *bits* bits."""

    @intrinsic
    def load(typing_context: Any, addr: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = builder.inttoptr(args[0], ir.IntType(bits).as_pointer())
            if ordering:
                return builder.load_atomic(pointer, ordering, bits // 8)
            value = builder.load(pointer, align=1)
            return value if bits == 64 else builder.zext(value, _I64)

        return types.int64(types.int64), generate

    return load


def _store(bits: int, ordering: str | None = None) -> Any:
    """Make the intrinsic that stores the low *bits* bits of a value."""

    @intrinsic
    def store(typing_context: Any, addr: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = builder.inttoptr(args[0], ir.IntType(bits).as_pointer())
            value = args[1] if bits == 64 else builder.trunc(args[1], ir.IntType(bits))
            if ordering:
                builder.store_atomic(value, pointer, ordering, bits // 8)
            else:
                builder.store(value, pointer, align=1)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), generate

    return store


def _emit_load_constant(typing_context: Any, addr: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = builder.load(builder.inttoptr(args[0], _I64.as_pointer()), align=8)
        word.set_metadata("invariant.load", builder.module.add_metadata([]))
        return word

    return types.int64(types.int64), generate


_load_constant: Any = intrinsic(_emit_load_constant)


def _emit_fence(typing_context: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


_fence: Any = intrinsic(_emit_fence)


def _atomic(operation: str) -> Any:
    """Make the intrinsic of an atomic read-modify-write of a 64-bit word."""

    @intrinsic
    def modify(typing_context: Any, addr: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = builder.inttoptr(args[0], _I64.as_pointer())
            return builder.atomic_rmw(operation, pointer, args[1], "seq_cst")

        return types.int64(types.int64, types.int64), generate

    return modify


def _emit_copy(typing_context: Any, to: Any, source: Any, size: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte = ir.IntType(8).as_pointer()
        intrinsic_function = builder.module.declare_intrinsic("llvm.memcpy", [byte, byte, _I64])
        to, source = (builder.inttoptr(value, byte) for value in args[:2])
        builder.call(intrinsic_function, [to, source, args[2], ir.IntType(1)(0)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


_copy: Any = intrinsic(_emit_copy)


def _emit_clear(typing_context: Any, addr: Any, size: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte = ir.IntType(8)
        intrinsic_function = builder.module.declare_intrinsic(
            "llvm.memset", [byte.as_pointer(), _I64]
        )
        start = builder.inttoptr(args[0], byte.as_pointer())
        builder.call(intrinsic_function, [start, byte(0), args[1], ir.IntType(1)(0)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


_clear: Any = intrinsic(_emit_clear)


def _emit_trailing_zeros(typing_context: Any, word: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.IntType(1)(0))

    return types.int64(types.int64), generate


_trailing_zeros: Any = intrinsic(_emit_trailing_zeros)


def _emit_bit_length(typing_context: Any, word: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.sub(_I64(64), builder.ctlz(args[0], ir.IntType(1)(0)))

    return types.int64(types.int64), generate


_bit_length: Any = intrinsic(_emit_bit_length)


def _emit_cycles(typing_context: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        counter = builder.module.declare_intrinsic(
            "llvm.readcyclecounter", (), ir.FunctionType(_I64, ())
        )
        return builder.call(counter, [])

    return types.int64(), generate


_cycles: Any = intrinsic(_emit_cycles)


def _emit_likely(typing_context: Any, flag: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bit = ir.IntType(1)
        kind = ir.FunctionType(bit, [bit, bit])
        expect = builder.module.declare_intrinsic("llvm.expect", [bit], kind)
        return builder.call(expect, [args[0], bit(1)])

    return types.boolean(types.boolean), generate


_likely: Any = intrinsic(_emit_likely)


def _emit_syscall(
    typing_context: Any, nr: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any
) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        instruction, constraints = _SYSCALL[platform.machine()]
        kind = ir.FunctionType(_I64, [_I64] * 7)
        return builder.asm(kind, instruction, constraints, args, side_effect=True)

    return types.int64(*[types.int64] * 7), generate


_syscall: Any = intrinsic(_emit_syscall)


def _emit_call(typing_context: Any, function: Any, argument: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(_I64, [_I64]).as_pointer()
        return builder.call(builder.inttoptr(args[0], kind), [args[1]])

    return types.int64(types.int64, types.int64), generate


_call: Any = intrinsic(_emit_call)


def _emit_call2(typing_context: Any, function: Any, first: Any, second: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(_I64, [_I64, _I64]).as_pointer()
        return builder.call(builder.inttoptr(args[0], kind), [args[1], args[2]])

    return types.int64(types.int64, types.int64, types.int64), generate


_call2: Any = intrinsic(_emit_call2)


def _emit_call6(
    typing_context: Any, function: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any
) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(_I64, [_I64] * 6).as_pointer()
        return builder.call(builder.inttoptr(args[0], kind), args[1:])

    return types.int64(*[types.int64] * 7), generate


_call6: Any = intrinsic(_emit_call6)


def _emit_linked_answer(typing_context: Any, extent: Any, ctx: Any, pos: Any, count: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        # A pointer that is one from the start: LLVM keeps in registers what goes through it.
        kind = ir.ArrayType(_I64, ANSWER_WORDS)
        allocate: Any = cgutils.alloca_once
        found = allocate(builder, kind)
        signature = ir.FunctionType(ir.VoidType(), [kind.as_pointer(), *[_I64] * 4])
        insert: Any = cgutils.get_or_insert_function
        builder.call(insert(builder.module, signature, ANSWER), [found, *args])
        return builder.load(found)

    tuple_of: Any = types.UniTuple
    answer = tuple_of(types.int64, ANSWER_WORDS)
    return answer(*[types.int64] * 4), generate


_linked_answer: Any = intrinsic(_emit_linked_answer)


def _wrapping(method: str) -> Any:
    """Make the intrinsic of an operation without the promise that it does not overflow."""

    @intrinsic
    def operate(typing_context: Any, left: Any, right: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return getattr(builder, method)(args[0], args[1])

        return types.int64(types.int64, types.int64), generate

    return operate


def _external(name: str) -> Any:
    """Make the intrinsic that calls *name*, which `division` defines for each machine."""

    @intrinsic
    def operate(typing_context: Any, left: Any, right: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kind = ir.FunctionType(_I64, [_I64, _I64])
            insert: Any = cgutils.get_or_insert_function
            function = insert(builder.module, kind, name)
            for attribute in ("nounwind", "readnone"):
                function.attributes.add(attribute)
            return builder.call(function, args)

        return types.int64(types.int64, types.int64), generate

    return operate


def _overload_load(twin: Callable[..., Any], native: Any) -> None:
    overload(twin)(lambda addr: lambda addr: native(addr))


def _overload_binary(twin: Callable[..., Any], native: Any) -> None:
    overload(twin)(lambda left, right: lambda left, right: native(left, right))


def _overload_store(twin: Callable[..., Any], native: Any) -> None:
    overload(twin)(lambda addr, value: lambda addr, value: native(addr, value))


def _overload_modify(twin: Callable[..., Any], native: Any) -> None:
    overload(twin)(lambda addr, value: lambda addr, value: native(addr, value))


_overload_load(memory.load8, _load(8))
_overload_load(memory.load16, _load(16))
_overload_load(memory.load32, _load(32))
_overload_load(memory.load64, _load(64))
_overload_store(memory.store8, _store(8))
_overload_store(memory.store16, _store(16))
_overload_store(memory.store32, _store(32))
_overload_store(memory.store64, _store(64))
_overload_load(memory.load_constant, _load_constant)
_overload_load(memory.load_acquire, _load(64, "acquire"))
_overload_store(memory.store_release, _store(64, "release"))
overload(memory.fence)(lambda: lambda: _fence())
for _twin, _operation in (
    (memory.exchange, "xchg"),
    (memory.fetch_add, "add"),
    (memory.fetch_or, "or"),
    (memory.fetch_and, "and"),
    (memory.fetch_max, "max"),
):
    _overload_modify(_twin, _atomic(_operation))
overload(memory.copy)(lambda to, source, size: lambda to, source, size: _copy(to, source, size))
overload(memory.clear)(lambda addr, size: lambda addr, size: _clear(addr, size))
overload(bits.trailing_zeros)(lambda word: lambda word: _trailing_zeros(word))
overload(bits.bit_length)(lambda word: lambda word: _bit_length(word))
overload(bits.cycles)(lambda: lambda: _cycles())
overload(bits.likely, inline="always")(lambda flag: lambda flag: _likely(flag))
_overload_binary(integers.add, _wrapping("add"))
_overload_binary(integers.subtract, _wrapping("sub"))
_overload_binary(integers.multiply, _wrapping("mul"))
_overload_binary(integers.divide, _external(division.DIVIDE))
_overload_binary(integers.modulo, _external(division.MODULO))
overload(calls.call1)(
    lambda function, argument: lambda function, argument: _call(function, argument)
)
overload(calls.call2)(
    lambda function, first, second: lambda function, first, second: _call2(function, first, second)
)
overload(calls.call6)(
    lambda function, a, b, c, d, e, f: (
        lambda function, a, b, c, d, e, f: _call6(function, a, b, c, d, e, f)
    )
)
overload(calls.linked_answer)(
    lambda extent, ctx, pos, count: (
        lambda extent, ctx, pos, count: _linked_answer(extent, ctx, pos, count)
    )
)
overload(syscalls.syscall)(
    lambda number, a, b, c, d, e, f: (
        lambda number, a, b, c, d, e, f: _syscall(number, a, b, c, d, e, f)
    )
)
