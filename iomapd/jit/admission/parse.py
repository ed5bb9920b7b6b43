# SPDX-License-Identifier: MIT
"""Stage 1, parse: from source text to a tree that can only calculate.

The source is data.  It is never imported, evaluated or executed; what is not named here is
refused, with file and line.

    '''docstring'''                                    optional
    from iomapd.abi import HANDLED, FALLBACK           optional; read, not imported
    PARAMS = ("name", ...)    COUNTERS = ("name", ...) optional
    NAME = constant integer                            any number
    def NAME(integers): ...                            any number, no recursion
    def iomap_begin(ctx): ...                          required
    def iomap_end(ctx): ...   def iomap_ioend(ctx): .. optional
"""

from __future__ import annotations

import ast
import keyword
import warnings
from typing import Final

from iomapd.abi import HANDLED
from iomapd.abi.program import (
    BEGIN,
    CTX_HINTS,
    CTX_WORDS,
    END_WORDS,
    ENDS,
    ENTRIES,
    NR_COUNTERS,
    NR_PARAMS,
)
from iomapd.jit.admission import rules
from iomapd.jit.admission.expressions import ExpressionReader
from iomapd.jit.admission.flow import check_flow, leaves
from iomapd.jit.admission.scope import Scope
from iomapd.jit.admission.source import check_source, refusal
from iomapd.jit.admission.statements import BodyReader, check_header, parameters_of
from iomapd.jit.admission.tree import Const, Function, ParsedProgram, Return

_LISTS: Final = {"PARAMS": NR_PARAMS, "COUNTERS": NR_COUNTERS}


def parse_program(name: str, text: str, file: str) -> ParsedProgram:
    """Parse the source of a program.

    Args:
        name: what the volume calls it.
        text: the source.
        file: what messages call the place.

    Raises:
        ProgramError: ``FILE:LINE: sentence``; something that is not allowed.
    """
    check_source(text, file)
    tree = _syntax(text, file)
    _check_depth(tree, file)
    scope = Scope(file)
    definitions = _top(tree, scope)
    if BEGIN not in scope.arities:
        raise refusal(file, 1, f"there is no def {BEGIN}(ctx)")
    return _Functions(scope, definitions).program(name, text, ast.get_docstring(tree) or "")


def _syntax(text: str, file: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Python would warn of is refused or harmless
            # Not under its own name: Python opens the file to quote the line of a mistake.
            return ast.parse(text, "<program>")
    except SyntaxError as error:
        raise refusal(file, error.lineno or 1, f"not Python: {error.msg}") from None
    except (ValueError, OverflowError) as error:
        raise refusal(file, 1, f"not Python: {error}") from None
    except (RecursionError, MemoryError):
        raise refusal(file, 1, "nested too deeply for Python's parser") from None


def _check_depth(tree: ast.Module, file: str) -> None:
    """Bound the recursion of everything that walks the tree later."""
    level: list[ast.AST] = [tree]
    for _ in range(rules.DEPTH_MAX):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    if level:
        lines = [node.lineno for node in level if isinstance(node, ast.expr | ast.stmt)]
        sentence = f"statements and expressions are nested deeper than {rules.DEPTH_MAX}"
        raise refusal(file, min(lines, default=1), sentence)


def _top(tree: ast.Module, scope: Scope) -> list[ast.FunctionDef]:
    """Read the top of the program into *scope*; return its functions."""
    functions = []
    for index, node in enumerate(tree.body):
        match node:
            case ast.Expr(value=ast.Constant(value=str())) if index == 0:
                pass  # the docstring
            case ast.ImportFrom(module="iomapd.abi", level=0):
                _check_import(node, scope)
            case ast.Assign(targets=[ast.Name(id=("PARAMS" | "COUNTERS") as name)]):
                _name_list(node, name, scope)
            case ast.Assign(targets=[ast.Name(id=name)]):
                scope.define(node, name)
                value = ExpressionReader(scope, None).constant(node.value, f"{name} at the top")
                scope.constants[name] = value
            case ast.FunctionDef():
                scope.define(node, node.name)
                scope.arities[node.name] = len(node.args.args)
                functions.append(node)
            case ast.Assign():
                scope.refuse(node, "at the top a name is assigned one constant integer")
            case _:
                _refuse_at_top(node, scope)
    return functions


def _refuse_at_top(node: ast.stmt, scope: Scope) -> None:
    if type(node) in rules.REFUSED and not isinstance(node, ast.Expr):
        scope.refuse(node)
    if isinstance(node, ast.Expr) and type(node.value) in rules.REFUSED:
        scope.refuse(node.value)
    scope.refuse(node, "at the top stand constants and functions only; nothing runs there")


def _check_import(node: ast.ImportFrom, scope: Scope) -> None:
    for alias in node.names:
        if alias.name not in ("HANDLED", "FALLBACK") or alias.asname:
            scope.refuse(node, "only HANDLED and FALLBACK are imported, under their own names")


def _name_list(node: ast.Assign, which: str, scope: Scope) -> None:
    limit = _LISTS[which]
    # A name that is older than hints stays what it was: a parameter.
    taken = {*CTX_WORDS, *END_WORDS} - CTX_HINTS | {*scope.params, *scope.counters}
    if (which == "PARAMS" and scope.params) or (which == "COUNTERS" and scope.counters):
        scope.refuse(node, f"{which} is defined twice")
    elements = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
    names = tuple(e.value if isinstance(e, ast.Constant) else None for e in elements)
    if not isinstance(node.value, ast.Tuple) or len(names) > limit or None in names:
        scope.refuse(node, f"{which} is a tuple of at most {limit} names in quotes")
    for name in names:
        good = isinstance(name, str) and name.isascii() and name.isidentifier()
        if not good or keyword.iskeyword(str(name)) or len(str(name)) > rules.NAME_MAX:
            scope.refuse(node, f"{which}: {str(name)[: rules.NAME_MAX]!a} is not a name")
        if name in taken:
            scope.refuse(node, f"{which}: ctx has a field {name} already")
        taken.add(str(name))
    if which == "PARAMS":
        scope.params = tuple(map(str, names))
    else:
        scope.counters = tuple(map(str, names))


class _Functions:
    """Reads the functions of a program, each once, callees first."""

    def __init__(self, scope: Scope, definitions: list[ast.FunctionDef]) -> None:
        self._scope = scope
        self._definitions = {node.name: node for node in definitions}
        self._readers: dict[str, ExpressionReader] = {}
        self._read: dict[str, Function] = {}
        self._depths: dict[str, int] = {}
        self._statements = 0

    def program(self, name: str, text: str, doc: str) -> ParsedProgram:
        for node in self._definitions.values():
            self._read[node.name] = self._function(node)
        ordered: dict[str, Function] = {}
        for function in self._definitions:
            self._order(function, (), ordered)
        begin = self._readers[BEGIN]
        return ParsedProgram(
            name, self._scope.file, text, doc, self._scope.params, self._scope.counters,
            ordered, self._statements,
            frozenset(begin.used & {field.name for field in begin.inputs.values()}),
            frozenset(begin.used & CTX_HINTS & begin.outputs.keys()),
        )  # fmt: skip

    def _function(self, node: ast.FunctionDef) -> Function:
        is_entry = node.name in ENTRIES
        reader = ExpressionReader(self._scope, node.name if is_entry else None)
        self._readers[node.name] = reader
        check_header(node, reader)
        if is_entry and [argument.arg for argument in node.args.args] != ["ctx"]:
            self._scope.refuse(node, f"{node.name} has one parameter, ctx")
        parameters = () if is_entry else parameters_of(node, reader)
        body_reader = BodyReader(reader)
        body = body_reader.body(node)
        self._statements += body_reader.statements
        if self._statements > rules.STATEMENTS_MAX:
            self._scope.refuse(node, f"a program has at most {rules.STATEMENTS_MAX} statements")
        if node.name in ENDS and not leaves(body):
            body += (Return(node.lineno, Const(HANDLED)),)  # nobody looks at what they return
        function = Function(node.name, node.lineno, parameters, body, is_entry)
        known = {field.name for field in reader.inputs.values()}
        if node.name in ENDS:
            known |= {field.name for field in reader.outputs.values()}  # counters begin at zero
        check_flow(function, frozenset(known), self._scope.file)
        return function

    def _order(self, name: str, callers: tuple[str, ...], done: dict[str, Function]) -> None:
        if name in done:
            return
        node = self._definitions[name]
        if name in callers:
            circle = " -> ".join((*callers[callers.index(name) :], name))
            self._scope.refuse(node, f"recursion is not allowed: {circle}")
        for callee in sorted(self._readers[name].called):
            if callee in ENTRIES:
                self._scope.refuse(node, f"{name} calls {callee}, which only the core calls")
            self._order(callee, (*callers, name), done)
        depth = max((self._depths[callee] + 1 for callee in self._readers[name].called), default=0)
        if depth > rules.CALLS_MAX:
            self._scope.refuse(node, f"calls are nested deeper than {rules.CALLS_MAX}")
        self._depths[name] = depth
        done[name] = self._read[name]
