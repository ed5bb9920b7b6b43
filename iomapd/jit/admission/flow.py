# SPDX-License-Identifier: MIT
"""Follows every path through a function: what is set where, and that each path returns.

A variable that some path leaves unset would be an exception in the interpreter and anything at
all in compiled code; an answer that some path leaves unset would be the last caller's.  So
what is read must have been set on every path that leads there, and what answers HANDLED must
have set strip, addr and length.  A loop counts as one that may not run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from iomapd.abi import FALLBACK
from iomapd.abi.program import BEGIN, CTX_OUT
from iomapd.jit.admission.source import refusal
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
    from collections.abc import Iterator

    from iomapd.jit.admission.tree import Block, Condition, Expr, Function, Stmt

_ANSWERS: Final = tuple(f"ctx.{name}" for name in ("strip", "addr", "length"))
assert {name.removeprefix("ctx.") for name in _ANSWERS} == CTX_OUT


def check_flow(function: Function, inputs: frozenset[str], file: str) -> None:
    """Check every path through *function*.

    Args:
        function: as parsed.
        inputs: fields of ctx that are set before it begins.
        file: for messages.

    Raises:
        ProgramError: a path reads what is not set, leaves an answer unset, ends without a
            return, or a statement is on no path.
    """
    flow = _Flow(function.name, file)
    known = frozenset(function.parameters) | {f"ctx.{name}" for name in inputs}
    if flow.block(function.body, known) is not None:
        raise refusal(file, function.line, f"{function.name} has a path without return")


def leaves(block: Block) -> bool:
    """Tell whether no path gets to the end of *block*; a loop counts as one that ends."""
    match block[-1] if block else None:
        case Return() | Break() | Continue():
            return True
        case If(then=then, otherwise=otherwise):
            return leaves(then) and leaves(otherwise)
    return False


class _Flow:
    def __init__(self, name: str, file: str) -> None:
        self._name = name
        self._file = file

    def block(self, block: Block, known: frozenset[str]) -> frozenset[str] | None:
        """Follow a block; what is set behind it, or None when nothing gets there."""
        after: frozenset[str] | None = known
        for statement in block:
            if after is None:
                raise refusal(self._file, statement.line, "this statement is never reached")
            after = self._statement(statement, after)
        return after

    def _statement(self, statement: Stmt, known: frozenset[str]) -> frozenset[str] | None:
        for name in _read_by(statement):
            if name not in known:
                what = f"{name} may be read before it is set"
                raise refusal(self._file, statement.line, what)
        match statement:
            case Assign(target=target):
                return known | {_place(target)}
            case If():
                then = self.block(statement.then, known)
                otherwise = self.block(statement.otherwise, known)
                if then is None or otherwise is None:
                    return otherwise if then is None else then
                return then & otherwise
            case For():
                self.block(statement.body, known | {statement.target})
                return known
            case Return():
                self._check_answers(statement, known)
        return None

    def _check_answers(self, statement: Return, known: frozenset[str]) -> None:
        if self._name != BEGIN or statement.value == Const(FALLBACK):
            return
        missing = [name for name in _ANSWERS if name not in known]
        if missing:
            what = f"this return leaves {', '.join(missing)} unset on some path"
            raise refusal(self._file, statement.line, what)


def _place(target: Local | Field) -> str:
    return target.name if isinstance(target, Local) else f"ctx.{target.name}"


def _read_by(statement: Stmt) -> Iterator[str]:
    match statement:
        case Assign(value=value) | Return(value=value):
            yield from _names_in(value)
        case If(test=test):
            yield from _names_in(test)
        case For() | Break() | Continue():
            pass


def _names_in(node: Expr | Condition) -> Iterator[str]:
    """Yield the variables and fields that an expression or condition reads."""
    match node:
        case Local() | Field():
            yield _place(node)
        case _:
            for part in parts_of(node):
                yield from _names_in(part)


def parts_of(node: Expr | Condition) -> tuple[Expr | Condition, ...]:
    """Return what an expression or condition is made of, one level down."""
    match node:
        case Const() | Local() | Field():
            return ()
        case Unary(operand=part) | NonZero(operand=part) | Not(part=part):
            return (part,)
        case Binary(left=left, right=right):
            return left, right
        case Choice():
            return node.test, node.then, node.otherwise
        case Builtin(args=parts) | Call(args=parts) | Compare(operands=parts) | Logic(parts=parts):
            return parts
