# SPDX-License-Identifier: MIT
"""The disassembler writes what the kernel writes, for every instruction up to cpu v4."""

import pytest

from iomapd.jit.bpf.disassemble import disassemble, instructions_of, text_of
from iomapd.jit.bpf.elf import Code, Line, read_object
from tests.jit.bpf.assembler import EXIT, MOVE_0, assemble, kernel_listing
from tests.jit.bpf.conftest import made

WIDE, NARROW = 7, 4
ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, NEG, MOD, XOR, MOV, ARSH, END = range(14)
TESTS = (1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13)


def listing(code):
    return {one.at: text_of(one) for one in instructions_of(code)}


def arithmetic():
    """Every operation, on a register and a constant, 64 and 32 bits wide."""
    for group in (WIDE, NARROW):
        for operation in (ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, MOD, XOR, MOV, ARSH):
            yield (operation << 4 | group, 2, 0, 0, 5)
            if operation not in (DIV, MOD):
                yield (operation << 4 | 8 | group, 2, 3, 0, 0)
        yield (NEG << 4 | group, 2, 0, 0, 0)
        for operation in (DIV, MOD):  # signed, cpu v4
            yield (operation << 4 | group, 2, 0, 1, 5)
        for bits in (8, 16) if group == NARROW else (8, 16, 32):  # sign-extending moves, cpu v4
            yield (MOV << 4 | 8 | group, 2, 3, bits, 0)
    for bits in (16, 32, 64):
        yield (END << 4 | NARROW, 2, 0, 0, bits)
        yield (END << 4 | 8 | NARROW, 2, 0, 0, bits)
        yield (END << 4 | WIDE, 2, 0, 0, bits)  # bswap, cpu v4


def memory():
    for size in range(4):
        yield (0x61 | size << 3, 2, 1, 8, 0)
        yield (0x62 | size << 3, 10, 0, -8, -3)
        yield (0x63 | size << 3, 10, 3, -8, 0)
        yield (0x61 | size << 3, 2, 10, -8, 0)
    for size in range(3):  # sign-extending loads, cpu v4
        yield (0x81 | size << 3, 2, 10, -8, 0)


def jumps():
    for group in (5, 6):
        for test in TESTS:
            yield (test << 4 | group, 2, 0, 1, 7)
            yield (test << 4 | 8 | group, 2, 3, 1, 0)
    yield (0x05, 0, 0, 0, 0)
    yield (0x06, 0, 0, 0, 0)  # gotol, cpu v4


# Registers nothing is known of, so that no branch is decided in advance; and some stack.
HEAD = ((0x79, 2, 1, 0, 0), (0x79, 3, 1, 8, 0), (0x7A, 10, 0, -8, 1))


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("body", [arithmetic, memory])
def test_the_kernel_writes_the_same(body):
    code = assemble(*HEAD, *body(), MOVE_0, EXIT)
    assert listing(code) == kernel_listing(code)


@pytest.mark.usefixtures("kernel")
def test_the_kernel_writes_jumps_the_same():
    for jump in jumps():
        code = assemble(*HEAD, jump, (0x07, 2, 0, 0, 1), MOVE_0, EXIT)
        assert listing(code) == kernel_listing(code)


@pytest.mark.usefixtures("kernel")
def test_a_constant_of_64_bits_is_one_instruction_in_two_places():
    code = assemble((0x18, 2, 0, 0, 0x55667788), (0, 0, 0, 0, 0x11223344), MOVE_0, EXIT)
    assert kernel_listing(code) == listing(code)
    assert listing(code)[0] == "(18) r2 = 0x1122334455667788"
    assert listing(code)[2] == "(b7) r0 = 0"


def test_what_no_program_can_have_is_named():
    code = assemble((0x85, 0, 0, 0, 5), (0x85, 0, 1, 0, 3), (0xE5, 0, 0, -2, 0), (0xDB, 1, 2, 0, 0))
    assert list(listing(code).values()) == [
        "(85) call unknown#5", "(85) call pc+3", "(e5) may_goto pc-2", "(db) ???",
    ]  # fmt: skip


def test_lines_of_the_source_stand_between_the_instructions():
    code = Code("iomap_begin", assemble(MOVE_0, EXIT), (Line(1, 7, "    return HANDLED"),))
    assert disassemble(code).splitlines() == [
        "long iomap_begin(struct iomap_ctx * ctx):",
        "   0: (b7) r0 = 0",
        "; return HANDLED",
        "   1: (95) exit",
    ]


@pytest.mark.slow
def test_nothing_of_a_shipped_program_is_unknown():
    for name in ("raid0", "linear", "declustered"):
        (code,) = read_object(made(name)).values()
        assert "???" not in disassemble(code)
        assert code.instructions == 1 + max(one.at for one in instructions_of(code.code))
