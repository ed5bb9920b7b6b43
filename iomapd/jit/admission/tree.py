# SPDX-License-Identifier: MIT
"""A program after parsing: a small tree that can say nothing but integer arithmetic.

The parser turns what it allows into these records and refuses the rest, so everything after it
(step bound, interpreter, compiler) has no forbidden thing to think of.  Values are signed
64-bit integers that wrap; conditions are a kind of their own, so that no bool is ever a value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

# Expressions: integers.


@dataclass(frozen=True, slots=True)
class Const:
    """An integer, -2**63 .. 2**63-1."""

    value: int


@dataclass(frozen=True, slots=True)
class Local:
    """A local variable; flow.py has seen to it that it is set."""

    name: str


@dataclass(frozen=True, slots=True)
class Field:
    """A field of ctx, by its word."""

    name: str
    word: int


@dataclass(frozen=True, slots=True)
class Unary:
    """``-`` or ``~`` before an operand."""

    op: str
    operand: Expr


@dataclass(frozen=True, slots=True)
class Binary:
    """One of ``+ - * // % & | ^ << >>``.

    The right side of ``//`` and ``%`` is Field unit or nr_strips, or a positive Const; that of a
    shift a Const 0..63.
    """

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Choice:
    """``then if test else otherwise``; only one side is evaluated."""

    test: Condition
    then: Expr
    otherwise: Expr


@dataclass(frozen=True, slots=True)
class Builtin:
    """``min``, ``max`` or ``abs``."""

    name: str
    args: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A call of another function of the program."""

    name: str
    args: tuple[Expr, ...]
    line: int


Expr: TypeAlias = Const | Local | Field | Unary | Binary | Choice | Builtin | Call


# Conditions: what stands in an if.


@dataclass(frozen=True, slots=True)
class Compare:
    """A comparison, chained perhaps: ``operands[0] ops[0] operands[1] ...``."""

    ops: tuple[str, ...]
    operands: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Logic:
    """``and`` or ``or`` of two or more conditions; stops at the first that decides."""

    op: str
    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """``not`` of a condition."""

    part: Condition


@dataclass(frozen=True, slots=True)
class NonZero:
    """A number as condition: true unless 0."""

    operand: Expr


Condition: TypeAlias = Compare | Logic | Not | NonZero


# Statements.


@dataclass(frozen=True, slots=True)
class Assign:
    """Set a local variable, or a field that is an answer."""

    line: int
    target: Local | Field
    value: Expr


@dataclass(frozen=True, slots=True)
class If:
    """Either block may be empty."""

    line: int
    test: Condition
    then: Block
    otherwise: Block


@dataclass(frozen=True, slots=True)
class For:
    """``for target in range(start, stop, step)``, all three constant."""

    line: int
    target: str
    values: range
    body: Block


@dataclass(frozen=True, slots=True)
class Return:
    """The end of a function."""

    line: int
    value: Expr


@dataclass(frozen=True, slots=True)
class Break:
    """Leave the loop."""

    line: int


@dataclass(frozen=True, slots=True)
class Continue:
    """Begin the next round of the loop."""

    line: int


Stmt: TypeAlias = Assign | If | For | Return | Break | Continue
Block: TypeAlias = tuple[Stmt, ...]


@dataclass(frozen=True, slots=True)
class Function:
    """One function; of an entry (`is_entry`) the only parameter is ctx."""

    name: str
    line: int
    parameters: tuple[str, ...]
    body: Block
    is_entry: bool


@dataclass(frozen=True, slots=True)
class ParsedProgram:
    """A program that has passed parse.

    Attributes:
        name: what the volume calls it.
        file: where it came from, for messages.
        text: its source.
        doc: its docstring.
        params: names of p0..p7, in order.
        counters: names of the counters, in order.
        functions: by name, callees before callers.
        statements: how many there are.
        fields: inputs of ctx that `iomap_begin` reads, by name.
        hints: hints that it leaves, by name.
    """

    name: str
    file: str
    text: str
    doc: str
    params: tuple[str, ...]
    counters: tuple[str, ...]
    functions: dict[str, Function]
    statements: int
    fields: frozenset[str] = field(default=frozenset())
    hints: frozenset[str] = field(default=frozenset())

    @property
    def entries(self) -> tuple[str, ...]:
        """The functions that the core calls, `iomap_begin` first."""
        return tuple(name for name, function in self.functions.items() if function.is_entry)

    @property
    def uses_seed(self) -> bool:
        """Whether the map may differ between files."""
        return "seed" in self.fields
