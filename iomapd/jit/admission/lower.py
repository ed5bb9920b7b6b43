# SPDX-License-Identifier: MIT
"""From the tree to text that numba compiles: the only text of a program that is ever executed.

Nothing of the user's text is copied: names get a prefix, numbers are printed from integers,
operators come from tables.  Inputs of ctx are loaded once at the start, answers are kept in
variables and stored before the return, so the compiler need not wonder which store changes
which load.

    def iomap_begin(ctx):                       def iomap_begin(ctx):  # 6
        row = ctx.pos // ctx.unit         ->        i_pos = load64(ctx + 0)
        ctx.strip = row                             i_unit = load64(ctx + 16)
        ...                                         v_row = divide(i_pos, i_unit)  # 7
        return HANDLED                              o_strip = v_row  # 8
                                                    ...
                                                    store64(ctx + 112, o_strip)  # 12
                                                    return 1  # 12

`lower_answer` writes ``iomap_begin`` once more, as `mapping.walk.answer`: what it answers is
returned, and what it is asked comes from the words of the extent.

    def answer(extent, ctx, pos, count):
        i_pos = pos
        i_unit = load_constant(extent + 16)
        ...
        return 1, o_strip, o_addr, o_length

The comments say which line of the source a statement comes from; `functions_of` turns them into
the line numbers of the code, which numba and LLVM then carry as far as BPF.
"""

from __future__ import annotations

import ast
import re
import textwrap
from typing import TYPE_CHECKING, Any, Final

from iomapd.abi import FALLBACK
from iomapd.abi.program import (
    BEGIN,
    CTX_HINTS,
    CTX_OUT,
    CTX_WORDS,
    END_C0,
    ENTRIES,
    NR_COUNTERS,
    NR_PARAMS,
    WORD,
)
from iomapd.jit.admission.flow import parts_of
from iomapd.jit.admission.rules import INT_MIN
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
from iomapd.mapping.walk import NR_STRIPS, PARAMS, SEED, STRIP_LENGTH, UNIT
from iomapd.native.integers import add, divide, modulo, multiply, subtract
from iomapd.native.memory import load64, load_constant, store64

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from iomapd.jit.admission.tree import Block, Condition, Expr, Function, ParsedProgram, Stmt

LOWERED: Final = "<lowered program>"
"""What numba and LLVM take for the name of the source."""

_ANSWER: Final = "answer"
_ANSWERED: Final = ("strip", "addr", "length")
# Where the words of ctx come from when there is no ctx.
_ASKED: Final = {
    "pos": "pos",
    "count": "count",
    "unit": f"load_constant(extent + {UNIT})",
    "nr_strips": f"load_constant(extent + {NR_STRIPS})",
    "strip_length": f"load_constant(extent + {STRIP_LENGTH})",
    "seed": f"load_constant(extent + {SEED})",
    **{
        f"p{index}": f"load_constant(extent + {PARAMS + index * WORD})"
        for index in range(NR_PARAMS)
    },
}
_INDENT: Final = "    "
_LINE: Final = re.compile(r"  # (\d+)$")
# What numba's own operators would get wrong; see native/integers.py.
_CALLED: Final = {"+": "add", "-": "subtract", "*": "multiply", "//": "divide", "%": "modulo"}


def lower(program: ParsedProgram) -> str:
    """Return *program* as text over ``native/``; entries keep their names."""
    parts = [_Lowering(function).text() for function in program.functions.values()]
    return "\n\n".join(parts) + "\n"


def lower_answer(program: ParsedProgram) -> str:
    """Return what *program* answers as text over ``native/``: a function like `walk.answer`."""
    helpers = [f for f in program.functions.values() if not f.is_entry]
    parts = [_Lowering(function).text() for function in helpers]
    return "\n\n".join([*parts, _LoweringOfAnswer(program.functions[BEGIN]).text()]) + "\n"


def functions_of(text: str) -> dict[str, Callable[..., int]]:
    """Make functions of text that `lower` wrote, with the source's line numbers."""
    module = _executed(text)
    return {name: module[name] for name in ENTRIES if name in module}


def answer_of(text: str) -> Callable[[int, int, int, int], tuple[int, int, int, int]]:
    """Make the function of text that `lower_answer` wrote."""
    function: Callable[..., tuple[int, int, int, int]] = _executed(text)[_ANSWER]
    return function


def _executed(text: str) -> dict[str, Any]:
    module: dict[str, Any] = {
        "__builtins__": {"min": min, "max": max, "abs": abs, "range": range},
        "__name__": "program",
        "load64": load64,
        "load_constant": load_constant,
        "store64": store64,
        **{function.__name__: function for function in (add, subtract, multiply, divide, modulo)},
    }
    exec(compile(_with_lines(text), LOWERED, "exec"), module)
    return module


def _with_lines(text: str) -> ast.Module:
    """Parse text that `lower` wrote; what has no comment is of the line before."""
    lines = [1]
    for line in text.splitlines():
        comment = _LINE.search(line)
        lines.append(int(comment[1]) if comment else lines[-1])
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt | ast.expr | ast.arg):
            node.lineno = node.end_lineno = lines[node.lineno]
            node.col_offset = node.end_col_offset = 0
    return tree


class _Lowering:
    """Writes one function."""

    def __init__(self, function: Function) -> None:
        self._function = function
        self._outputs: dict[int, str] = {}
        self._inputs: dict[int, str] = {}
        self._is_end = function.is_entry and function.name != BEGIN
        for field in _fields_in(function.body):
            table = self._outputs if self._is_output(field.word) else self._inputs
            table[field.word] = field.name

    def text(self) -> str:
        function = self._function
        body = self._indented(function.body)
        if not function.is_entry:
            parameters = ", ".join(f"v_{name}" for name in function.parameters)
            return f"def f_{function.name}({parameters}):  # {function.line}\n{body}"
        loads = [f"i_{name} = {self._input(word)}" for word, name in self._inputs.items()]
        # Counters count from zero, and what a path does not hint at is zero; the answers of
        # iomap_begin are set before they are stored.
        zeros = [f"o_{name} = 0" for word, name in self._outputs.items() if self._is_zeroed(word)]
        head = "".join(f"{_INDENT}{line}\n" for line in loads + zeros)
        return f"def {self._signature()}:  # {function.line}\n{head}{body}"

    def _signature(self) -> str:
        return f"{self._function.name}(ctx)"

    def _input(self, word: int) -> str:
        return f"load64(ctx + {word * WORD})"

    def _return(self, value: Expr) -> Iterator[str]:
        if value != Const(FALLBACK):
            for word, name in self._outputs.items():
                yield f"store64(ctx + {word * WORD}, o_{name})"
        yield f"return {self._value(value)}"

    def _is_output(self, word: int) -> bool:
        if self._is_end:
            return 0 <= word - END_C0 // WORD < NR_COUNTERS
        return CTX_WORDS[word] in CTX_OUT | CTX_HINTS

    def _is_zeroed(self, word: int) -> bool:
        return self._is_end or CTX_WORDS[word] in CTX_HINTS

    def _indented(self, block: Block) -> str:
        lines = [line for statement in block for line in self._statement(statement)]
        return textwrap.indent("\n".join(lines or ["pass"]), _INDENT)

    def _statement(self, statement: Stmt) -> Iterator[str]:
        source = f"  # {statement.line}"
        match statement:
            case Assign(target=target, value=value):
                yield f"{self._value(target)} = {self._value(value)}{source}"
            case If():
                yield f"if {self._test(statement.test)}:{source}"
                yield self._indented(statement.then)
                if statement.otherwise:
                    yield "else:"
                    yield self._indented(statement.otherwise)
            case For(target=target, values=values):
                bounds = f"{_int(values.start)}, {_int(values.stop)}, {_int(values.step)}"
                yield f"for v_{target} in range({bounds}):{source}"
                yield self._indented(statement.body)
            case Return(value=value):
                yield from (f"{line}{source}" for line in self._return(value))
            case Break():
                yield f"break{source}"
            case Continue():
                yield f"continue{source}"

    def _value(self, node: Expr) -> str:
        match node:
            case Const(value=value):
                return _int(value)
            case Local(name=name):
                return f"v_{name}"
            case Field(name=name, word=word):
                return f"o_{name}" if self._is_output(word) else f"i_{name}"
            case Unary(op=op, operand=operand):
                return f"({op}{self._value(operand)})"
            case Binary(op=op, left=left, right=right) if op in _CALLED:
                return f"{_CALLED[op]}({self._value(left)}, {self._value(right)})"
            case Binary(op=op, left=left, right=right):
                return f"({self._value(left)} {op} {self._value(right)})"
            case Choice(test=test, then=then, otherwise=otherwise):
                return f"({self._value(then)} if {self._test(test)} else {self._value(otherwise)})"
            case Builtin(name=name, args=args):
                return f"{name}({', '.join(map(self._value, args))})"
            case Call(name=name, args=args):
                return f"f_{name}({', '.join(map(self._value, args))})"

    def _test(self, node: Condition) -> str:
        match node:
            case NonZero(operand=operand):
                return f"({self._value(operand)} != 0)"
            case Not(part=part):
                return f"(not {self._test(part)})"
            case Logic(op=op, parts=parts):
                return "(" + f" {op} ".join(map(self._test, parts)) + ")"
            case Compare(ops=ops, operands=operands):
                first, *others = map(self._value, operands)
                chain = "".join(f" {op} {other}" for op, other in zip(ops, others, strict=True))
                return f"({first}{chain})"


class _LoweringOfAnswer(_Lowering):
    """Writes ``iomap_begin`` as a function that returns what it answers."""

    def _signature(self) -> str:
        return f"{_ANSWER}(extent, ctx, pos, count)"

    def _input(self, word: int) -> str:
        return _ASKED[CTX_WORDS[word]]

    def _return(self, value: Expr) -> Iterator[str]:
        answered = ["0"] * len(_ANSWERED)
        if value != Const(FALLBACK):
            # `flow` has seen that all three are set.
            answered = [f"o_{name}" for name in _ANSWERED]
        yield f"return {', '.join([self._value(value), *answered])}"


def _int(value: int) -> str:
    # -2**63 is written as Python folds it; as a literal it would be unsigned before its sign.
    if value == INT_MIN:
        return f"(-{-(value + 1)} - 1)"
    return f"({value})" if value < 0 else str(value)


def _fields_in(block: Block) -> Iterator[Field]:
    for statement in block:
        match statement:
            case Assign(target=target, value=value):
                yield from _fields_of(target)
                yield from _fields_of(value)
            case If():
                yield from _fields_of(statement.test)
                yield from _fields_in(statement.then)
                yield from _fields_in(statement.otherwise)
            case For(body=body):
                yield from _fields_in(body)
            case Return(value=value):
                yield from _fields_of(value)
            case Break() | Continue():
                pass


def _fields_of(node: Expr | Condition) -> Iterator[Field]:
    if isinstance(node, Field):
        yield node
    for part in parts_of(node):
        yield from _fields_of(part)
