# SPDX-License-Identifier: MIT
"""Reads the body of one function out of Python's syntax tree."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from iomapd.jit.admission import rules
from iomapd.jit.admission.tree import (
    Assign,
    Block,
    Break,
    Continue,
    For,
    If,
    Return,
    Stmt,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iomapd.jit.admission.expressions import ExpressionReader


class BodyReader:
    """Reads the statements of one function.

    Attributes:
        statements: how many have been read.
    """

    def __init__(self, reader: ExpressionReader) -> None:
        self._reader = reader
        self._scope = reader.scope
        self._loops = 0
        self.statements = 0

    def body(self, function: ast.FunctionDef) -> Block:
        """Read a whole function; its docstring is left out.

        Raises:
            ProgramError: it contains what no program may.
        """
        nodes = function.body[1:] if ast.get_docstring(function, clean=False) else function.body
        # Python decides what is local before anything runs, and so do we.
        self._reader.locals |= {
            node.id
            for node in ast.walk(function)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        return self._block(nodes)

    def _block(self, nodes: Sequence[ast.stmt]) -> Block:
        statements = []
        for node in nodes:
            self.statements += 1
            statement = self._statement(node)
            if statement is not None:
                statements.append(statement)
        return tuple(statements)

    def _statement(self, node: ast.stmt) -> Stmt | None:
        match node:
            case ast.Assign():
                return self._assign(node)
            case ast.AugAssign():
                return self._augmented(node)
            case ast.If():
                test, then = self._reader.condition(node.test), self._block(node.body)
                return If(node.lineno, test, then, self._block(node.orelse))
            case ast.For():
                return self._loop(node)
            case ast.Return(value=None):
                self._scope.refuse(node, "return without a value; return HANDLED or FALLBACK")
            case ast.Return(value=ast.expr() as value):
                return Return(node.lineno, self._reader.number(value))
            case ast.Break() | ast.Continue():
                if not self._loops:
                    self._scope.refuse(node, "break and continue belong into a loop")
                return Break(node.lineno) if isinstance(node, ast.Break) else Continue(node.lineno)
            case ast.Pass():
                return None
            case ast.Expr(value=value) if type(value) in rules.REFUSED:
                self._scope.refuse(value)
        self._scope.refuse(node)

    def _assign(self, node: ast.Assign) -> Assign:
        if len(node.targets) != 1:
            self._scope.refuse(node, "a = b = c is not allowed; assign one name at a time")
        value = self._reader.number(node.value)
        return Assign(node.lineno, self._reader.target(node.targets[0]), value)

    def _augmented(self, node: ast.AugAssign) -> Assign:
        op = rules.BINARY.get(type(node.op))
        if op is None:
            self._scope.refuse(node, rules.sentence_for(node.op))
        target = self._reader.target(node.target)
        value = self._reader.combine(node, op, target, self._reader.number(node.value))
        return Assign(node.lineno, target, value)

    def _loop(self, node: ast.For) -> For:
        if node.orelse:
            self._scope.refuse(node, "else after a loop is not allowed")
        if not isinstance(node.target, ast.Name):
            self._scope.refuse(node, "a loop counts in one local variable")
        self._scope.check_local(node.target, node.target.id)
        call = node.iter
        if not (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Name)
            and call.func.id == "range"
            and not call.keywords
            and 1 <= len(call.args) <= 3
        ):
            self._scope.refuse(node, "loops are for NAME in range(CONSTANT); nothing else")
        bounds = [self._reader.constant(arg, "a bound of range") for arg in call.args]
        if len(bounds) == 3 and bounds[2] == 0:
            self._scope.refuse(node, "the step of range must not be 0")
        self._loops += 1
        body = self._block(node.body)
        self._loops -= 1
        return For(node.lineno, node.target.id, range(*bounds), body)


def parameters_of(function: ast.FunctionDef, reader: ExpressionReader) -> tuple[str, ...]:
    """Return the parameters of a function that is not an entry.

    Raises:
        ProgramError: one has a default or annotation, or a name that it may not have.
    """
    scope, arguments = reader.scope, function.args
    if len(arguments.args) > rules.PARAMETERS_MAX:
        scope.refuse(function, f"{function.name} takes more than {rules.PARAMETERS_MAX} arguments")
    for argument in arguments.args:
        scope.check_local(argument, argument.arg)
        reader.locals.add(argument.arg)
    return tuple(argument.arg for argument in arguments.args)


def check_header(function: ast.FunctionDef, reader: ExpressionReader) -> None:
    """Check that ``def`` says a name and plain parameters and nothing else.

    Raises:
        ProgramError: it has decorators, defaults, annotations, or stars.
    """
    scope, arguments = reader.scope, function.args
    if function.decorator_list:
        scope.refuse(function.decorator_list[0], "decorators are not allowed")
    if function.returns or any(
        argument.annotation for argument in ast.walk(arguments) if isinstance(argument, ast.arg)
    ):
        scope.refuse(function, "annotations are not allowed; every value is an integer")
    if arguments.defaults or any(arguments.kw_defaults):
        scope.refuse(function, "default arguments are not allowed")
    if arguments.vararg or arguments.kwarg or arguments.kwonlyargs or arguments.posonlyargs:
        scope.refuse(function, "parameters are plain names; *, ** and / are not allowed")
    if getattr(function, "type_params", None):
        scope.refuse(function, "type parameters are not allowed; every value is an integer")
