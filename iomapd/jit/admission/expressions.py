# SPDX-License-Identifier: MIT
"""Reads integers and conditions out of Python's syntax tree."""

from __future__ import annotations

import ast
import operator
from typing import TYPE_CHECKING, Final

from iomapd.abi import FALLBACK, HANDLED
from iomapd.jit.admission import rules
from iomapd.jit.admission.scope import Scope, fields_of
from iomapd.jit.admission.tree import (
    Binary,
    Builtin,
    Call,
    Choice,
    Compare,
    Condition,
    Const,
    Expr,
    Field,
    Local,
    Logic,
    NonZero,
    Not,
    Unary,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_STATUSES: Final = {"HANDLED": HANDLED, "FALLBACK": FALLBACK}
_DIVISORS: Final = frozenset({"unit", "nr_strips"})

FOLD: Final[dict[str, Callable[[int, int], int]]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul,
    "//": operator.floordiv, "%": operator.mod,
    "&": operator.and_, "|": operator.or_, "^": operator.xor,
    "<<": operator.lshift, ">>": operator.rshift,
}  # fmt: skip
"""What each operator does before the result is cut to 64 bits."""


class ExpressionReader:
    """Reads the expressions of one function.

    Args:
        scope: the names of the program.
        entry: name of the entry whose ctx may be used; None in other functions.
    """

    def __init__(self, scope: Scope, entry: str | None) -> None:
        self.scope = scope
        self.locals: set[str] = set()
        self.used: set[str] = set()
        self.called: set[str] = set()
        self.inputs: dict[str, Field] = {}
        self.outputs: dict[str, Field] = {}
        self._is_entry = entry is not None
        if entry is not None:
            self.inputs, self.outputs = fields_of(scope, entry)

    def number(self, node: ast.expr) -> Expr:
        """Read an integer.

        Raises:
            ProgramError: *node* is something else.
        """
        match node:
            case ast.Constant():
                return self._literal(node, node.value)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as value)):
                return self._literal(node, -value if type(value) is int else value)
            case ast.Name():
                return self._name(node)
            case ast.Attribute():
                return self._field(node)
            case ast.UnaryOp():
                return self._unary(node)
            case ast.BinOp():
                return self._binary(node)
            case ast.IfExp():
                test, then = self.condition(node.test), self.number(node.body)
                return Choice(test, then, self.number(node.orelse))
            case ast.Call():
                return self._call(node)
            case ast.Compare() | ast.BoolOp():
                self.scope.refuse(node, "a condition is not a number; write 1 if ... else 0")
        self.scope.refuse(node)

    def condition(self, node: ast.expr) -> Condition:
        """Read what stands in an if.

        Raises:
            ProgramError: it is neither comparison nor number.
        """
        match node:
            case ast.BoolOp():
                parts = tuple(self.condition(value) for value in node.values)
                return Logic("and" if isinstance(node.op, ast.And) else "or", parts)
            case ast.UnaryOp(op=ast.Not()):
                return Not(self.condition(node.operand))
            case ast.Compare():
                return self._compare(node)
        return NonZero(self.number(node))

    def constant(self, node: ast.expr, what: str) -> int:
        """Read an integer that is known now.

        Raises:
            ProgramError: it is not; the message says that *what* must be constant.
        """
        value = self.number(node)
        if not isinstance(value, Const):
            self.scope.refuse(node, f"{what} must be constant")
        return value.value

    def _literal(self, node: ast.expr, value: object) -> Const:
        if type(value) is not int:
            self.scope.refuse(node, rules.LITERALS.get(type(value), ""))
        return self._checked(node, value)

    def _checked(self, node: ast.AST, value: int) -> Const:
        if rules.INT_MIN <= value <= rules.INT_MAX:
            return Const(value)
        hint = ""
        if 0 < value < 2**64:
            hint = f"; the same 64 bits are {value - 2**64}"
        text = (
            f"{value:#x}" if value.bit_length() <= 128 else f"a number of {value.bit_length()} bits"
        )
        self.scope.refuse(node, f"{text} does not fit a signed 64-bit integer{hint}")

    def _name(self, node: ast.Name) -> Expr:
        name = node.id
        if name == "ctx":
            self.scope.refuse(node, "ctx is used by its fields only, as ctx.pos")
        if name in self.locals:
            return Local(name)
        if name in self.scope.constants:
            return Const(self.scope.constants[name])
        if name in _STATUSES:
            return Const(_STATUSES[name])
        if name in self.scope.arities or name in rules.RESERVED:
            self.scope.refuse(node, f"{name} is not a number")
        self.scope.refuse(node, f"{name} is not defined in this program")

    def _field(self, node: ast.Attribute) -> Field:
        if not isinstance(node.value, ast.Name) or node.value.id != "ctx":
            self.scope.refuse(node, f".{node.attr} is not allowed; only ctx has fields")
        if not self._is_entry:
            self.scope.refuse(node, f"ctx.{node.attr} is out of reach here; pass it as an argument")
        found = self.inputs.get(node.attr) or self.outputs.get(node.attr)
        if found is None:
            known = ", ".join(dict.fromkeys(f.name for f in (self.inputs | self.outputs).values()))
            self.scope.refuse(node, f"ctx has no field {node.attr}; it has {known}")
        self.used.add(found.name)
        return found

    def target(self, node: ast.expr) -> Local | Field:
        """Read what an assignment sets.

        Raises:
            ProgramError: it is neither a local variable nor an answer.
        """
        match node:
            case ast.Name(id=name):
                self.scope.check_local(node, name)
                return Local(name)
            case ast.Attribute():
                found = self._field(node)
                if self.outputs.get(node.attr) is not found:
                    self.scope.refuse(node, f"ctx.{node.attr} is an input; it cannot be assigned")
                return found
        self.scope.refuse(node)

    def _unary(self, node: ast.UnaryOp) -> Expr:
        if isinstance(node.op, ast.Not):
            self.scope.refuse(node, "a condition is not a number; write 1 if ... else 0")
        operand = self.number(node.operand)
        if isinstance(node.op, ast.UAdd):
            return operand
        negative = isinstance(node.op, ast.USub)
        if isinstance(operand, Const):
            return self._checked(node, -operand.value if negative else ~operand.value)
        return Unary("-" if negative else "~", operand)

    def _binary(self, node: ast.BinOp) -> Expr:
        op = rules.BINARY.get(type(node.op))
        if op is None:
            self.scope.refuse(node, rules.sentence_for(node.op))
        return self.combine(node, op, self.number(node.left), self.number(node.right))

    def combine(self, node: ast.AST, op: str, left: Expr, right: Expr) -> Expr:
        """Join two integers by an operator; computed at once when both are constant.

        Raises:
            ProgramError: a divisor or a shift count that the rules do not allow.
        """
        if op in ("//", "%"):
            self._check_divisor(node, op, right)
        if op in ("<<", ">>") and not (
            isinstance(right, Const) and 0 <= right.value <= rules.SHIFT_MAX
        ):
            self.scope.refuse(node, f"the count of {op} must be constant, 0..{rules.SHIFT_MAX}")
        if isinstance(left, Const) and isinstance(right, Const):
            return self._checked(node, FOLD[op](left.value, right.value))
        return Binary(op, left, right)

    def _check_divisor(self, node: ast.AST, op: str, right: Expr) -> None:
        good = (isinstance(right, Const) and right.value > 0) or (
            isinstance(right, Field) and right.name in _DIVISORS
        )
        if not good:
            self.scope.refuse(
                node, f"{op} divides by ctx.unit, ctx.nr_strips or a positive constant only"
            )

    def _compare(self, node: ast.Compare) -> Compare:
        ops = []
        for op in node.ops:
            if type(op) not in rules.COMPARISONS:
                self.scope.refuse(node, rules.sentence_for(op))
            ops.append(rules.COMPARISONS[type(op)])
        return Compare(
            tuple(ops), tuple(self.number(side) for side in (node.left, *node.comparators))
        )

    def _call(self, node: ast.Call) -> Expr:
        if not isinstance(node.func, ast.Name):
            self.scope.refuse(node, "only functions of this program, min, max and abs are called")
        name = node.func.id
        if node.keywords:
            self.scope.refuse(node, f"{name} is called with a keyword; arguments go by position")
        args = node.args
        if name in ("min", "max", "abs"):
            low, high = (1, 1) if name == "abs" else (2, rules.PARAMETERS_MAX)
            if not low <= len(args) <= high:
                count = "one argument" if name == "abs" else f"2 to {high} arguments"
                self.scope.refuse(node, f"{name} takes {count}, not {len(args)}")
            return Builtin(name, tuple(self.number(arg) for arg in args))
        if name == "range":
            self.scope.refuse(node, "range belongs into for NAME in range(CONSTANT)")
        if name in self.locals or name not in self.scope.arities:
            self.scope.refuse(node, f"{name} is not a function of this program")
        if self.scope.arities[name] != len(args):
            takes = self.scope.arities[name]
            self.scope.refuse(node, f"{name} takes {takes} arguments, not {len(args)}")
        self.called.add(name)
        return Call(name, tuple(self.number(arg) for arg in args), node.lineno)
