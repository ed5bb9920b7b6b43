# SPDX-License-Identifier: MIT
"""What a name means: in the program as a whole, and in one function."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn

from iomapd.abi.program import (
    BEGIN,
    CTX_HINTS,
    CTX_OUT,
    CTX_WORDS,
    END_OUT,
    END_WORDS,
    NR_COUNTERS,
    NR_PARAMS,
)
from iomapd.jit.admission import rules
from iomapd.jit.admission.source import refusal
from iomapd.jit.admission.tree import Field

if TYPE_CHECKING:
    import ast

_PARAM_WORDS: Final = tuple(f"p{index}" for index in range(NR_PARAMS))
_COUNTER_WORDS: Final = tuple(f"c{index}" for index in range(NR_COUNTERS))
_NAMED_WORDS: Final = frozenset(_PARAM_WORDS + _COUNTER_WORDS)


@dataclass(slots=True)
class Scope:
    """The names at the top of a program.

    Attributes:
        file: for messages.
        constants: values of named constants.
        params: names of the parameters, in order.
        counters: names of the counters, in order.
        arities: how many arguments each function takes.
    """

    file: str
    constants: dict[str, int] = field(default_factory=dict)
    params: tuple[str, ...] = ()
    counters: tuple[str, ...] = ()
    arities: dict[str, int] = field(default_factory=dict)

    def refuse(self, node: ast.AST, sentence: str = "") -> NoReturn:
        """Refuse *node* with *sentence*, by default the one of its kind.

        Raises:
            ProgramError: always.
        """
        line = getattr(node, "lineno", 1)
        raise refusal(self.file, line, sentence or rules.sentence_for(node))

    def define(self, node: ast.AST, name: str) -> None:
        """Check that *name* may become a name of the program.

        Raises:
            ProgramError: it is taken, reserved or of an odd form.
        """
        self.check_form(node, name)
        if name in self.constants or name in self.arities:
            self.refuse(node, f"{name} is defined twice")

    def check_form(self, node: ast.AST, name: str) -> None:
        """Check that *name* is one that a program may give.

        Raises:
            ProgramError: it is reserved, too long, or of Python's own kind.
        """
        if name in rules.RESERVED:
            self.refuse(node, f"{name} has a fixed meaning and cannot be redefined")
        if name.startswith("__"):
            self.refuse(node, f"{name} begins with __; such names are Python's own")
        if len(name) > rules.NAME_MAX:
            self.refuse(node, f"a name has {len(name)} characters; at most {rules.NAME_MAX}")

    def check_local(self, node: ast.AST, name: str) -> None:
        """Check that *name* may be a local variable or parameter of a function.

        Raises:
            ProgramError: as `check_form`, or it would hide something of the program.
        """
        self.check_form(node, name)
        if name in self.constants or name in self.arities:
            self.refuse(node, f"{name} is a name of the program; a local may not hide it")


def fields_of(scope: Scope, function: str) -> tuple[dict[str, Field], dict[str, Field]]:
    """Return ``(inputs, outputs)``: the fields of ctx in the entry *function*, by name.

    A parameter or counter goes by its word (p0, c0) and by the name that the program gave it;
    those without a name do not exist.  A parameter with the name of a hint hides the hint.
    """
    words, answers = (CTX_WORDS, CTX_OUT | CTX_HINTS) if function == BEGIN else (END_WORDS, END_OUT)
    named = dict(zip(_PARAM_WORDS, scope.params, strict=False))
    named |= dict(zip(_COUNTER_WORDS, scope.counters, strict=False))
    inputs: dict[str, Field] = {}
    outputs: dict[str, Field] = {}
    for index, word in enumerate(words):
        table = outputs if word in answers else inputs
        if word not in _NAMED_WORDS:
            if word not in inputs:
                table[word] = Field(word, index)
        elif word in named:
            table[word] = table[named[word]] = Field(named[word], index)
    return inputs, outputs
