# SPDX-License-Identifier: MIT
"""The oracle: what a program means, computed in Python without running any of its text.

Every node of the tree becomes one closure.  Values are signed 64-bit integers: each result is
cut to 64 bits, as the compiled code's are.  ``//`` and ``%`` floor.  What the rules leave
undefined (a unit or nr_strips that is not positive) answers FALLBACK and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, MutableSequence
from typing import TYPE_CHECKING, Final, TypeAlias

from iomapd.abi import FALLBACK
from iomapd.abi.program import BEGIN
from iomapd.jit.admission.expressions import FOLD
from iomapd.jit.admission.tree import (
    Assign,
    Binary,
    Break,
    Builtin,
    Call,
    Choice,
    Compare,
    Const,
    Continue,
    Field,
    For,
    If,
    Local,
    Logic,
    NonZero,
    Not,
    Return,
    Unary,
)

if TYPE_CHECKING:
    from iomapd.jit.admission.tree import Block, Condition, Expr, Function, ParsedProgram, Stmt

_BITS: Final = 1 << 64
_SIGN: Final = 1 << 63

# Why a block ended early; anything else is the value of a return.
_BREAK: Final = "break"
_CONTINUE: Final = "continue"

Outcome: TypeAlias = int | str | None


class _Frame:
    """The variables of one call, and the record."""

    __slots__ = ("ctx", "locals")

    def __init__(self, ctx: MutableSequence[int]) -> None:
        self.locals: dict[str, int] = {}
        self.ctx = ctx


Value: TypeAlias = Callable[[_Frame], int]
Test: TypeAlias = Callable[[_Frame], bool]
Step: TypeAlias = Callable[[_Frame], Outcome]


class _UndefinedError(Exception):
    """The rules give this no meaning."""


def wrap(value: int) -> int:
    """Cut *value* to a signed 64-bit integer."""
    return (value + _SIGN) % _BITS - _SIGN


def interpret(
    program: ParsedProgram, function: str = BEGIN
) -> Callable[[MutableSequence[int]], int]:
    """Make an entry of *program* callable.

    Args:
        program: as parsed.
        function: one of ``program.entries``.

    Returns:
        A function of a record: 32 signed integers, of which the answers are changed in place.
        It returns the status.

    Raises:
        KeyError: the program has no such function.
    """
    made: dict[str, _Callable] = {}
    for name, node in program.functions.items():
        made[name] = _Callable(node, made)
    entry = made[function]

    def run(ctx: MutableSequence[int]) -> int:
        before = list(ctx)
        try:
            return entry.run(_Frame(ctx))
        except _UndefinedError:
            ctx[:] = before
            return FALLBACK

    return run


class _Callable:
    """One function; callees are made before callers."""

    def __init__(self, function: Function, made: dict[str, _Callable]) -> None:
        self.parameters = function.parameters
        self._made = made
        self._steps = self._block(function.body)

    def run(self, frame: _Frame) -> int:
        outcome = _run(self._steps, frame)
        assert isinstance(outcome, int), "flow.py lets no function end without a return"
        return outcome

    def _block(self, block: Block) -> tuple[Step, ...]:
        return tuple(self._step(statement) for statement in block)

    def _step(self, statement: Stmt) -> Step:
        match statement:
            case Assign(target=target):
                value = self._value(statement.value)
                if isinstance(target, Local):
                    return _set_local(target.name, value)
                return _set_field(target.word, value)
            case If():
                test = self._test(statement.test)
                then, otherwise = self._block(statement.then), self._block(statement.otherwise)
                return lambda frame: _run(then if test(frame) else otherwise, frame)
            case For():
                return _loop(statement.target, statement.values, self._block(statement.body))
            case Return(value=node):
                return self._value(node)
            case Break():
                return lambda frame: _BREAK
            case Continue():
                return lambda frame: _CONTINUE

    def _value(self, node: Expr) -> Value:
        match node:
            case Const(value=value):
                return lambda frame: value
            case Local(name=name):
                return lambda frame: frame.locals[name]
            case Field(word=word):
                return lambda frame: frame.ctx[word]
            case Unary(op=op, operand=part):
                operand = self._value(part)
                if op == "-":
                    return lambda frame: wrap(-operand(frame))
                return lambda frame: ~operand(frame)
            case Binary():
                return self._binary(node)
            case Choice():
                test, then = self._test(node.test), self._value(node.then)
                otherwise = self._value(node.otherwise)
                return lambda frame: then(frame) if test(frame) else otherwise(frame)
            case Builtin(name=name, args=parts):
                args = [self._value(part) for part in parts]
                if name == "abs":
                    return lambda frame: wrap(abs(args[0](frame)))
                best = min if name == "min" else max
                return lambda frame: best(arg(frame) for arg in args)
            case Call(name=name, args=parts):
                return _call(self._made[name], [self._value(part) for part in parts])

    def _binary(self, node: Binary) -> Value:
        left, right, compute = self._value(node.left), self._value(node.right), FOLD[node.op]
        if node.op not in ("//", "%"):
            return lambda frame: wrap(compute(left(frame), right(frame)))

        def divide(frame: _Frame) -> int:
            divisor = right(frame)
            if divisor <= 0:
                raise _UndefinedError
            return compute(left(frame), divisor)

        return divide

    def _test(self, node: Condition) -> Test:
        match node:
            case NonZero(operand=part):
                operand = self._value(part)
                return lambda frame: operand(frame) != 0
            case Not(part=inner):
                test = self._test(inner)
                return lambda frame: not test(frame)
            case Logic(op=op, parts=inners):
                tests = [self._test(inner) for inner in inners]
                decide = all if op == "and" else any
                return lambda frame: decide(test(frame) for test in tests)
            case Compare(ops=ops, operands=parts):
                return _compare([_COMPARE[op] for op in ops], [self._value(p) for p in parts])


_COMPARE: Final[dict[str, Callable[[int, int], bool]]] = {
    "<": int.__lt__, "<=": int.__le__, ">": int.__gt__,
    ">=": int.__ge__, "==": int.__eq__, "!=": int.__ne__,
}  # fmt: skip


def _run(steps: tuple[Step, ...], frame: _Frame) -> Outcome:
    for step in steps:
        outcome = step(frame)
        if outcome is not None:
            return outcome
    return None


def _set_local(name: str, value: Value) -> Step:
    def step(frame: _Frame) -> None:
        frame.locals[name] = value(frame)

    return step


def _set_field(word: int, value: Value) -> Step:
    def step(frame: _Frame) -> None:
        frame.ctx[word] = value(frame)

    return step


def _loop(name: str, values: range, body: tuple[Step, ...]) -> Step:
    def step(frame: _Frame) -> Outcome:
        for value in values:
            frame.locals[name] = value
            outcome = _run(body, frame)
            if outcome == _BREAK:
                return None
            if outcome is not None and outcome != _CONTINUE:
                return outcome
        return None

    return step


def _compare(ops: list[Callable[[int, int], bool]], operands: list[Value]) -> Test:
    def test(frame: _Frame) -> bool:
        values = [operand(frame) for operand in operands]
        pairs = zip(ops, values, values[1:], strict=False)
        return all(op(left, right) for op, left, right in pairs)

    return test


def _call(callee: _Callable, args: list[Value]) -> Value:
    def value(frame: _Frame) -> int:
        inner = _Frame(frame.ctx)
        for name, arg in zip(callee.parameters, args, strict=True):
            inner.locals[name] = arg(frame)
        return callee.run(inner)

    return value
