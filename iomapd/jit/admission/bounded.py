# SPDX-License-Identifier: MIT
"""Stage 2, bounded: how long one answer can take, and how much code it can become.

    steps   every statement, operator, comparison and call counts one; a loop counts as often
            as it runs; of two branches the longer one
    size    the same, but a loop counts once and branches add up: what stands in memory when all
            calls are inlined, and what the compiler has to chew

Both are bounds, never measurements, and both are finite because loops are constant and nothing
recurses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from iomapd.jit.admission.flow import leaves, parts_of
from iomapd.jit.admission.source import refusal
from iomapd.jit.admission.tree import (
    Assign,
    Break,
    Call,
    Choice,
    Const,
    Continue,
    Field,
    For,
    If,
    Local,
    Return,
)

if TYPE_CHECKING:
    from iomapd.jit.admission.tree import Block, Condition, Expr, ParsedProgram, Stmt

STEPS_MAX: Final = 4096
"""Most steps of one answer: a few microseconds."""

SIZE_MAX: Final = 2048
"""Most operations of a function with all it calls: numba needs some seconds for so many."""


class Bound(NamedTuple):
    """At most so many steps, and so many operations of code."""

    steps: int
    size: int

    def __add__(self, other: tuple[object, ...]) -> Bound:
        """Return the bound of one after the other."""
        assert isinstance(other, Bound)
        return Bound(self.steps + other.steps, self.size + other.size)

    def either(self, other: Bound) -> Bound:
        """Return the bound of one or the other."""
        return Bound(max(self.steps, other.steps), self.size + other.size)

    def times(self, rounds: int) -> Bound:
        """Return the bound of a loop around this."""
        return Bound(self.steps * rounds, self.size)


_NOTHING: Final = Bound(0, 0)
_ONE: Final = Bound(1, 1)


def step_bound(program: ParsedProgram) -> Bound:
    """Compute the bound of the program's longest entry, and the size of all.

    Raises:
        ProgramError: it is above `STEPS_MAX` or `SIZE_MAX`.
    """
    bounds: dict[str, Bound] = {}
    # Callees come first, so each function is looked at once however often it is called.
    for function in program.functions.values():
        bound = _Bounds(bounds).block(function.body)
        bounds[function.name] = bound
        what = ""
        if bound.steps > STEPS_MAX:
            what = f"may take {bound.steps} steps; at most {STEPS_MAX} are allowed"
        elif bound.size > SIZE_MAX:
            what = f"becomes {bound.size} operations of code; at most {SIZE_MAX} are allowed"
        if what:
            raise refusal(program.file, function.line, f"{function.name} {what}")
    entries = [bounds[name] for name in program.entries]
    return Bound(max(b.steps for b in entries), sum(b.size for b in entries))


class _Bounds:
    """Bounds the parts of one function.

    Args:
        known: bounds of the functions that it may call.
    """

    def __init__(self, known: dict[str, Bound]) -> None:
        self._known = known

    def block(self, block: Block) -> Bound:
        after = _NOTHING
        for statement in reversed(block):
            after = self._statement(statement, after)
        return after

    def _statement(self, statement: Stmt, after: Bound) -> Bound:
        """Bound a statement and what comes *after* it in its block."""
        match statement:
            case Assign(value=value) | Return(value=value):
                return _ONE + self._value(value) + after
            case If():
                return _ONE + self._value(statement.test) + self._branches(statement, after)
            case For():
                rounds = (_ONE + self.block(statement.body)).times(_rounds(statement.values))
                return _ONE + rounds + after
            case Break() | Continue():
                return _ONE

    def _branches(self, statement: If, after: Bound) -> Bound:
        sides = [(side, self.block(side)) for side in (statement.then, statement.otherwise)]
        # A side that returns does not pay for what it skips.
        steps = max(b.steps + (0 if leaves(side) else after.steps) for side, b in sides)
        return Bound(steps, sum(bound.size for _, bound in sides) + after.size)

    def _value(self, node: Expr | Condition) -> Bound:
        match node:
            case Const() | Local() | Field():
                return _NOTHING
            case Choice():
                sides = self._value(node.then).either(self._value(node.otherwise))
                return _ONE + self._value(node.test) + sides
        bound = _ONE
        if isinstance(node, Call):
            bound += self._known[node.name]
        for part in parts_of(node):
            bound += self._value(part)
        return bound


def _rounds(values: range) -> int:
    """Return how often a loop runs; len() cannot count beyond 2**63."""
    if not values:
        return 0
    return (values[-1] - values.start) // values.step + 1
