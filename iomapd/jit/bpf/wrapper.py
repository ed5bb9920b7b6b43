# SPDX-License-Identifier: MIT
"""The BPF program around each entry, as LLVM IR: its record, what is certain of it, its lines.

    int64 iomap_begin(struct iomap_ctx *ctx)        section "syscall"
        assume what the core guarantees             (nothing is left of this in the code)
        return program.iomap_begin(ctx) == HANDLED

The kernel passes on 32 bits of what a program returns, and every status but HANDLED means
FALLBACK, so the wrapper says which of the two it is.  Debug information becomes BTF: the type of
the record, the name of the program, and the user's own lines.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from iomapd.abi import FALLBACK, HANDLED
from iomapd.abi.program import (
    BEGIN,
    CTX_SIZE,
    CTX_WORDS,
    END_C0,
    END_WORDS,
    NR_WORDS,
    WORD,
)

if TYPE_CHECKING:
    from iomapd.jit.admission.tree import ParsedProgram

SECTION: Final = "syscall"
"""libbpf takes the type of a program from the name of its section."""

LICENSE: Final = "Dual MIT/GPL"
"""That of iomapd.  No helper is called, so the kernel does not mind which."""

INNER: Final = "program."
"""What stands before an entry's name once it is inside a wrapper."""

AT_LEAST: Final = {"pos": 0, "count": 0, "unit": 1, "nr_strips": 1, "strip_length": 1}
"""What the core guarantees of every question: the lowest value of these inputs."""

RECORD: Final = f"ptr noundef nonnull align {WORD} dereferenceable({CTX_SIZE}) captures(none) %ctx"
"""How LLVM is told of the record."""

# A table of jumps or of answers would be data, and these programs have none.
ATTRIBUTES: Final = f'"no-jump-tables"="true" section "{SECTION}"'
"""What LLVM is told of every program."""

_EMPTY: Final = "!DIExpression()"


def wrapper_of(program: ParsedProgram) -> str:
    """Return LLVM IR with one BPF program per entry; it calls ``program.ENTRY``."""
    debug = _Debug(program)
    functions = [_function(name, *debug.subprogram(name)) for name in program.entries]
    size = len(LICENSE) + 1
    head = (
        "declare void @llvm.assume(i1)\n"
        f'@_license = constant [{size} x i8] c"{LICENSE}\\00", section "license"\n'
        "@llvm.used = appending global [1 x ptr] [ptr @_license], "
        'section "llvm.metadata"\n'
    )
    return head + "\n".join(functions) + debug.text()


def file_metadata(program: ParsedProgram) -> str:
    """Return the node that names the source and holds its text; BTF quotes lines from it."""
    name, text = _quoted(PurePath(program.file).name), _quoted(program.text)
    return f'!DIFile(filename: "{name}", directory: "", source: "{text}")'


def record_of(name: str) -> str:
    """Return what BTF calls the record of an entry."""
    return "iomap_ctx" if name == BEGIN else "iomap_end_ctx"


def _function(name: str, subprogram: str, variable: str, location: str) -> str:
    lines = [f"  #dbg_value(ptr %ctx, {variable}, {_EMPTY}, {location})"]
    for word, least in AT_LEAST.items():
        lines += [
            f"  %at.{word} = getelementptr i8, ptr %ctx, i64 {CTX_WORDS.index(word) * WORD}",
            f"  %{word} = load i64, ptr %at.{word}, align {WORD}",
            f"  %sure.{word} = icmp sge i64 %{word}, {least}",
            f"  call void @llvm.assume(i1 %sure.{word})",
        ]
    lines += [
        "  %address = ptrtoint ptr %ctx to i64",
        f"  %status = call i64 @{INNER}{name}(i64 %address), !dbg {location}",
        f"  %handled = icmp eq i64 %status, {HANDLED}",
        f"  %answer = select i1 %handled, i64 {HANDLED}, i64 {FALLBACK}",
        f"  ret i64 %answer, !dbg {location}",
    ]
    head = f"declare i64 @{INNER}{name}(i64)\ndefine i64 @{name}({RECORD}) {ATTRIBUTES}"
    return f"{head} !dbg {subprogram} {{\n" + "\n".join(lines) + "\n}\n"


class _Debug:
    """Numbers and writes the metadata of the wrappers."""

    def __init__(self, program: ParsedProgram) -> None:
        self._program = program
        self._nodes: list[str] = []
        self._file = self._node(file_metadata(program))
        producer = 'producer: "iomapd", isOptimized: true, emissionKind: FullDebug'
        self._unit = self._node(
            f"distinct !DICompileUnit(language: DW_LANG_C11, file: {self._file}, {producer})"
        )
        flags = [self._node('!{i32 2, !"Dwarf Version", i32 4}')]
        flags.append(self._node('!{i32 2, !"Debug Info Version", i32 3}'))
        self._flags = ", ".join(flags)
        self._word = self._node('!DIBasicType(name: "long", size: 64, encoding: DW_ATE_signed)')

    def subprogram(self, name: str) -> tuple[str, str, str]:
        """Describe an entry: its node, that of its argument, and the place of its def."""
        line = self._program.functions[name].line
        pointer = self._pointer(name)
        types = self._node(f"!{{{self._word}, {pointer}}}")
        signature = self._node(f"!DISubroutineType(types: {types})")
        # Both name each other.  BTF takes the argument's name from the nodes that are retained.
        subprogram, variable = (f"!{len(self._nodes) + ahead}" for ahead in (1, 2))
        retained = self._node(f"!{{{variable}}}")
        place = f"scope: {self._file}, file: {self._file}, line: {line}"
        self._node(
            f'distinct !DISubprogram(name: "{name}", {place}, type: {signature}, '
            f"scopeLine: {line}, flags: DIFlagPrototyped, unit: {self._unit}, "
            f"spFlags: DISPFlagDefinition | DISPFlagOptimized, retainedNodes: {retained})"
        )
        place = f"scope: {subprogram}, file: {self._file}, line: {line}"
        self._node(f'!DILocalVariable(name: "ctx", arg: 1, {place}, type: {pointer})')
        return subprogram, variable, self._node(f"!DILocation(line: {line}, scope: {subprogram})")

    def text(self) -> str:
        nodes = [f"!{number} = {node}\n" for number, node in enumerate(self._nodes)]
        named = f"!llvm.dbg.cu = !{{{self._unit}}}\n!llvm.module.flags = !{{{self._flags}}}\n"
        return named + "".join(nodes)

    def _node(self, text: str) -> str:
        self._nodes.append(text)
        return f"!{len(self._nodes) - 1}"

    def _pointer(self, name: str) -> str:
        members = [
            self._node(
                f'!DIDerivedType(tag: DW_TAG_member, name: "{field}", baseType: {self._word}, '
                f"size: 64, offset: {64 * word})"
            )
            for word, field in enumerate(self._fields(name))
        ]
        elements = self._node(f"!{{{', '.join(members)}}}")
        struct = self._node(
            f'!DICompositeType(tag: DW_TAG_structure_type, name: "{record_of(name)}", '
            f"file: {self._file}, size: {64 * NR_WORDS}, elements: {elements})"
        )
        return self._node(f"!DIDerivedType(tag: DW_TAG_pointer_type, baseType: {struct}, size: 64)")

    def _fields(self, name: str) -> list[str]:
        """Name all words of the record, parameters and counters as the program does."""
        order = CTX_WORDS if name == BEGIN else END_WORDS
        fields = [*order, *(f"reserved{word}" for word in range(len(order), NR_WORDS))]
        for index, parameter in enumerate(self._program.params):
            fields[CTX_WORDS.index("p0") + index] = parameter
        if name != BEGIN:
            for index, counter in enumerate(self._program.counters):
                fields[END_C0 // WORD + index] = counter
        return fields


def _quoted(text: str) -> str:
    """Escape *text* for a string of LLVM IR: bytes in hexadecimal unless they are plain."""
    plain = {byte for byte in range(0x20, 0x7F)} - set(b'"\\')
    return "".join(chr(b) if b in plain else f"\\{b:02X}" for b in text.encode())
