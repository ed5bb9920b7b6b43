# SPDX-License-Identifier: MIT
"""What a program may not contain, each with the sentence that its writer will read.

The parser allows by name and refuses everything else; this table only gives the refusal better
words than "is not allowed".
"""

from __future__ import annotations

import ast
from typing import Final

STATEMENTS_MAX: Final = 200
"""Most statements in a program."""

DEPTH_MAX: Final = 40
"""Deepest nesting of statements and expressions together."""

CALLS_MAX: Final = 8
"""Deepest nesting of calls.  With `DEPTH_MAX` it bounds what the interpreter recurses, two Python
frames per level, to less than Python's own limit of 1000."""

PARAMETERS_MAX: Final = 8
"""Most parameters of a function, and most arguments of min and max."""

NAME_MAX: Final = 64
"""Longest name, characters."""

SHIFT_MAX: Final = 63

INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1

RESERVED: Final = frozenset(
    {"ctx", "min", "max", "abs", "range", "HANDLED", "FALLBACK", "PARAMS", "COUNTERS"}
)
"""Names that mean the same in every program."""

BINARY: Final[dict[type[ast.operator], str]] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "//", ast.Mod: "%",
    ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^", ast.LShift: "<<", ast.RShift: ">>",
}  # fmt: skip

COMPARISONS: Final[dict[type[ast.cmpop], str]] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip

_LITERALS: Final = "programs calculate with integers only"
_OBJECTS: Final = "programs have integers and no objects"

REFUSED: Final[dict[type[ast.AST], str]] = {
    # Statements.
    ast.While: "while has no bound that can be seen; use for NAME in range(CONSTANT)",
    ast.AsyncFor: "async for waits; a program never waits",
    ast.AsyncWith: "async with waits; a program never waits",
    ast.AsyncFunctionDef: "async def waits; a program never waits",
    ast.With: "with is not allowed; " + _OBJECTS,
    ast.Try: "try is not allowed; nothing in a program raises an exception",
    ast.TryStar: "try is not allowed; nothing in a program raises an exception",
    ast.Raise: "raise is not allowed; return FALLBACK instead",
    ast.Assert: "assert is not allowed; return FALLBACK instead",
    ast.Match: "match is not allowed; use if and elif",
    ast.Delete: "del is not allowed; " + _OBJECTS,
    ast.Global: "global is not allowed; a program keeps nothing between calls",
    ast.Nonlocal: "nonlocal is not allowed; a program keeps nothing between calls",
    ast.Import: "import is not allowed; only from iomapd.abi import HANDLED, FALLBACK",
    ast.ImportFrom: "only HANDLED and FALLBACK may be imported, from iomapd.abi, at the top",
    ast.ClassDef: "class is not allowed; " + _OBJECTS,
    ast.FunctionDef: "a function inside a function is not allowed; put it at the top",
    ast.AnnAssign: "annotations are not allowed; every value is an integer",
    ast.Expr: "a statement without effect; assign its value or remove it",
    # Expressions.
    ast.Lambda: "lambda is not allowed; write a function with def",
    ast.ListComp: "comprehensions are not allowed; " + _OBJECTS,
    ast.SetComp: "comprehensions are not allowed; " + _OBJECTS,
    ast.DictComp: "comprehensions are not allowed; " + _OBJECTS,
    ast.GeneratorExp: "generators are not allowed; " + _OBJECTS,
    ast.Await: "await waits; a program never waits",
    ast.Yield: "yield is not allowed; a function returns once",
    ast.YieldFrom: "yield is not allowed; a function returns once",
    ast.NamedExpr: ":= is not allowed; assign in a statement of its own",
    ast.JoinedStr: "f-strings are not allowed; " + _LITERALS,
    ast.List: "lists are not allowed; " + _OBJECTS,
    ast.Tuple: "tuples are not allowed; assign one name at a time",
    ast.Set: "sets are not allowed; " + _OBJECTS,
    ast.Dict: "dictionaries are not allowed; " + _OBJECTS,
    ast.Subscript: "indexing is not allowed; there are no tables in a program",
    ast.Slice: "slices are not allowed; there are no tables in a program",
    ast.Starred: "* before an argument is not allowed; write the arguments out",
    # Operators.
    ast.Pow: "** is not allowed; multiply, or shift by a constant",
    ast.Div: "/ gives fractions; // divides integers",
    ast.MatMult: "@ is not allowed; " + _LITERALS,
    ast.In: "in is not allowed; compare with == or <",
    ast.NotIn: "not in is not allowed; compare with != or <",
    ast.Is: "is compares objects; compare integers with ==",
    ast.IsNot: "is not compares objects; compare integers with !=",
}

LITERALS: Final[dict[type, str]] = {
    bool: "True and False are not numbers here; write 1 and 0",
    float: "fractions are not allowed; " + _LITERALS,
    complex: "complex numbers are not allowed; " + _LITERALS,
    str: "strings are not allowed but as docstrings; " + _LITERALS,
    bytes: "bytes are not allowed; " + _LITERALS,
    type(None): "None is not allowed; " + _LITERALS,
    type(Ellipsis): "... is not allowed; " + _LITERALS,
}


def sentence_for(node: ast.AST) -> str:
    """Return the sentence that refuses *node*."""
    return REFUSED.get(type(node), f"{type(node).__name__} is not allowed")
