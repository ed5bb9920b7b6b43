# SPDX-License-Identifier: MIT
"""BPF instructions as text, the way the kernel and ``bpftool prog dump xlated`` write them.

    BYTE  0       1              2-3          4-7
          opcode  src:4 | dst:4  offset       constant      little-endian, signed

    opcode of ALU and JMP   operation:4 source:1 class:3    class 4 ALU, 5 JMP, 6 JMP32, 7 ALU64
    opcode of the others    mode:3 size:2 class:3           class 0 LD, 1 LDX, 2 ST, 3 STX

RFC 9669; kernel/bpf/disasm.c.  Everything that LLVM emits up to cpu v4 for code without calls of
helpers, maps and atomics; anything else is printed as ``(xx) ???``.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from iomapd.jit.bpf.wrapper import record_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iomapd.jit.bpf.elf import Code

LD, LDX, ST, STX, ALU, JMP, JMP32, ALU64 = range(8)
_SIZES: Final = ("u32", "u16", "u8", "u64")
_SIGNED_SIZES: Final = ("s32", "s16", "s8")
_MEM, _MEMSX = 3, 4
_DOUBLE: Final = 3 << 3 | LD  # the size of a 64-bit constant

_ALU: Final = ("+=", "-=", "*=", "/=", "|=", "&=", "<<=", ">>=", "neg", "%=", "^=", "=", "s>>=")
_SIGNED_ALU: Final = {3: "s/=", 9: "s%="}
_NEG, _MOV, _END = 8, 11, 13
_CASTS: Final = {0: "", 8: "(s8)", 16: "(s16)", 32: "(s32)"}
_TESTS: Final = {
    1: "==", 2: ">", 3: ">=", 4: "&", 5: "!=", 6: "s>", 7: "s>=",
    10: "<", 11: "<=", 12: "s<", 13: "s<=",
}  # fmt: skip
_JA, _CALL, _EXIT, _COND = 0, 8, 9, 14
_PSEUDO_CALL: Final = 1

_INSTRUCTION: Final = struct.Struct("<BBhi")


class Instruction(NamedTuple):
    """One instruction; *at* counts 64-bit constants twice, as jumps do."""

    at: int
    opcode: int
    dst: int
    src: int
    offset: int
    constant: int


def instructions_of(code: bytes) -> Iterator[Instruction]:
    """Take *code* apart; a 64-bit constant is one instruction with all of its constant."""
    units = _INSTRUCTION.iter_unpack(code)
    index = 0
    for opcode, registers, offset, constant in units:
        is_double = opcode == _DOUBLE
        if is_double:
            *_, high = next(units, (0, 0, 0, 0))
            constant = constant & 0xFFFFFFFF | high << 32
        yield Instruction(index, opcode, registers & 15, registers >> 4, offset, constant)
        index += 1 + is_double


def disassemble(code: Code) -> str:
    """Return the listing of one program, the lines of its source between its instructions."""
    number = [line.at for line in code.lines]
    texts = dict(zip(number, (line.text.strip() for line in code.lines), strict=True))
    out = [f"long {code.name}(struct {record_of(code.name)} * ctx):"]
    for instruction in instructions_of(code.code):
        if texts.get(instruction.at):
            out.append(f"; {texts[instruction.at]}")
        out.append(f"{instruction.at:4}: {text_of(instruction)}")
    return "\n".join(out)


def text_of(instruction: Instruction) -> str:
    """Return one instruction as the kernel writes it."""
    group = instruction.opcode & 7
    if group in (ALU, ALU64):
        text = _arithmetic(instruction)
    elif group in (JMP, JMP32):
        text = _jump(instruction)
    else:
        text = _memory(instruction)
    return f"({instruction.opcode:02x}) {text or '???'}"


def _arithmetic(one: Instruction) -> str:
    is_wide = one.opcode & 7 == ALU64
    register = "r" if is_wide else "w"
    operation, takes_register = one.opcode >> 4, one.opcode & 8
    if operation == _NEG:
        return f"{register}{one.dst} = -{register}{one.dst}"
    if operation == _END:
        kind = "bswap" if is_wide else "be" if takes_register else "le"
        return f"r{one.dst} = {kind}{one.constant} r{one.dst}"
    if operation > _MOV + 1:
        return ""
    signed = one.offset == 1 and operation in _SIGNED_ALU
    operator = _SIGNED_ALU[operation] if signed else _ALU[operation]
    if not takes_register:
        return f"{register}{one.dst} {operator} {one.constant}"
    cast = _CASTS.get(one.offset, "") if operation == _MOV else ""
    return f"{register}{one.dst} {operator} {cast}{register}{one.src}"


def _jump(one: Instruction) -> str:
    is_wide = one.opcode & 7 == JMP
    operation = one.opcode >> 4
    if operation == _JA:
        return f"goto pc{one.offset:+}" if is_wide else f"gotol pc{one.constant:+}"
    if operation == _EXIT:
        return "exit"
    if operation == _CALL:
        is_own = one.src == _PSEUDO_CALL
        return f"call pc{one.constant:+}" if is_own else f"call unknown#{one.constant}"
    if operation == _COND:
        return f"may_goto pc{one.offset:+}"
    test = _TESTS.get(operation)
    if test is None:
        return ""
    register = "r" if is_wide else "w"
    right = f"{register}{one.src}" if one.opcode & 8 else f"0x{one.constant & 0xFFFFFFFF:x}"
    return f"if {register}{one.dst} {test} {right} goto pc{one.offset:+}"


def _memory(one: Instruction) -> str:
    group, mode, size = one.opcode & 7, one.opcode >> 5, one.opcode >> 3 & 3
    if one.opcode == _DOUBLE:
        return f"r{one.dst} = 0x{one.constant & (1 << 64) - 1:x}"
    if group == LDX and mode == _MEM:
        return f"r{one.dst} = *({_SIZES[size]} *)(r{one.src} {one.offset:+})"
    if group == LDX and mode == _MEMSX and size < len(_SIGNED_SIZES):
        return f"r{one.dst} = *({_SIGNED_SIZES[size]} *)(r{one.src} {one.offset:+})"
    if group == ST and mode == _MEM:
        return f"*({_SIZES[size]} *)(r{one.dst} {one.offset:+}) = {one.constant}"
    if group == STX and mode == _MEM:
        return f"*({_SIZES[size]} *)(r{one.dst} {one.offset:+}) = r{one.src}"
    return ""
