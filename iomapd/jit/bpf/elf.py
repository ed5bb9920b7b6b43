# SPDX-License-Identifier: MIT
"""Reads the object that LLVM's BPF back end wrote: instructions, and where they come from.

    section "syscall"     the instructions of all entries, one after the other
    section ".symtab"     which entry begins where
    section ".BTF"        strings: the user's lines among them
    section ".BTF.ext"    line records: instruction -> line

    .BTF.ext     magic 2, version 1, flags 1, header length 4,
                 offset and length of: function records, line records    (from the header's end)
    records      record size 4, then per section:
                 section name 4, number 4, records: instruction 4, file 4, text 4, place 4
                 (instruction and strings as byte offsets; place = line << 10 | column)

https://docs.kernel.org/bpf/btf.html
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from elftools.elf.elffile import ELFFile

from iomapd.errors import IomapdError
from iomapd.jit.bpf.wrapper import SECTION

if TYPE_CHECKING:
    from collections.abc import Iterator

INSTRUCTION: Final = 8
"""Bytes of an instruction; a 64-bit constant takes two."""

# What has to be filled in before the code can run; of mapping programs, nothing.
_RELOCATIONS: Final = f".rel{SECTION}"
_HEADER: Final = struct.Struct("<HBBIIIII")
_SECTION: Final = struct.Struct("<II")
_LINE: Final = struct.Struct("<IIII")
_BTF_HEADER: Final = struct.Struct("<HBBIIIII")


class ObjectError(IomapdError):
    """An object file holds what a mapping program cannot have."""


class Line(NamedTuple):
    """The instructions from *at* on come from this line of the source."""

    at: int
    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Code:
    """One BPF program.

    Attributes:
        name: of the entry.
        code: its instructions.
        lines: by instruction, ascending.
    """

    name: str
    code: bytes
    lines: tuple[Line, ...]

    @property
    def instructions(self) -> int:
        """How many; a 64-bit constant counts twice, as for the kernel."""
        return len(self.code) // INSTRUCTION

    def line_of(self, index: int) -> Line | None:
        """Return the line that instruction *index* comes from, if that is known."""
        before = [line for line in self.lines if line.at <= index]
        return before[-1] if before else None


def read_object(data: bytes) -> dict[str, Code]:
    """Read an object that `retarget.bpf_object` wrote.

    Returns:
        Its programs by name, in their order.

    Raises:
        ObjectError: code refers to functions or data outside of itself.
    """
    elf = ELFFile(io.BytesIO(data))
    code = _section(elf, SECTION).data()
    if elf.get_section_by_name(_RELOCATIONS) is not None:
        raise ObjectError("the BPF code refers to functions or data outside of itself")
    lines = list(_lines(elf))
    found = {}
    for start, size, name in _functions(elf):
        first, end = start // INSTRUCTION, (start + size) // INSTRUCTION
        inside = [line._replace(at=line.at - first) for line in lines if first <= line.at < end]
        found[name] = Code(name, code[start : start + size], tuple(inside))
    return found


def _section(elf: ELFFile, name: str) -> Any:
    section = elf.get_section_by_name(name)
    if section is None:
        raise ObjectError(f"the BPF object has no section {name}")
    return section


def _functions(elf: ELFFile) -> list[tuple[int, int, str]]:
    """List what begins where in the code: offset, size, name."""
    index = elf.get_section_index(SECTION)
    return sorted(
        (symbol["st_value"], symbol["st_size"], symbol.name)
        for symbol in _section(elf, ".symtab").iter_symbols()
        if symbol["st_shndx"] == index and symbol["st_info"]["type"] == "STT_FUNC"
    )


def _lines(elf: ELFFile) -> Iterator[Line]:
    btf, extension = elf.get_section_by_name(".BTF"), elf.get_section_by_name(".BTF.ext")
    if btf is None or extension is None:
        return
    types, records = btf.data(), extension.data()
    *_, header_size, _, _, strings, _ = _BTF_HEADER.unpack_from(types)
    strings += header_size
    _, _, _, head, _, _, offset, length = _HEADER.unpack_from(records)
    position, end = head + offset, head + offset + length
    (record_size,) = struct.unpack_from("<I", records, position)
    position += 4
    while position < end:
        name, number = _SECTION.unpack_from(records, position)
        position += _SECTION.size
        for _ in range(number):
            at, _, text, place = _LINE.unpack_from(records, position)
            if _string(types, strings + name) == SECTION:
                yield Line(at // INSTRUCTION, place >> 10, _string(types, strings + text))
            position += record_size


def _string(data: bytes, start: int) -> str:
    return data[start : data.index(b"\0", start)].decode(errors="replace")
