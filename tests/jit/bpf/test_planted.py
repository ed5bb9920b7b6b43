# SPDX-License-Identifier: MIT
"""Code that is wrong on purpose, x86 or BPF: agree finds it, and prints a small input."""

import re
import struct

import pytest

from iomapd.errors import ProgramError
from iomapd.jit import division, machine
from iomapd.jit.admission.agree import agree
from iomapd.jit.admission.verifier import verify
from iomapd.jit.bpf.elf import read_object
from iomapd.jit.bpf.kernel import KernelProgram, VerifierError
from tests.jit.bpf.conftest import linked, made, parsed

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("kernel")]

STEPS = 17

# Another instruction for one that is there: opcodes that LLVM or a JIT could mix up.
SWAPPED = {
    0x0F: 0x1F,  # += and -=
    0x1F: 0x0F,
    0x2F: 0x0F,  # *= and +=
    0x3F: 0x9F,  # /= and %=
    0xBF: 0xBC,  # 64 and 32 bits
    0x79: 0x61,
    0x7B: 0x63,
    0xCD: 0x6D,  # s< and s>
}


def x86_of(name, text=None):
    """The x86 code of LLVM IR: what keeps it, and addresses by entry."""
    import llvmlite.binding as llvm

    from iomapd.jit.build import finish_module, strip_lines

    module = llvm.parse_assembly(text or linked(name))
    strip_lines(module)
    program = parsed(name)
    target = finish_module("program", module, program.entries, inline=True)
    engine = machine.load_object(bytes(target.emit_object(module)))
    return engine, {entry: engine.get_function_address(entry) for entry in program.entries}


def disagreement(name, addresses, loaded):
    with pytest.raises(ProgramError) as caught:
        agree(parsed(name), addresses, STEPS, loaded)
    said = str(caught.value)
    assert re.fullmatch(rf"programs/{name}\.py:\d+: iomap_begin answers .* for [^\n]*", said)
    return said


def test_the_code_as_it_is_agrees():
    _, addresses = x86_of("raid0")
    verified = verify(parsed("raid0"), linked("raid0"))
    found = agree(parsed("raid0"), addresses, STEPS, verified.loaded)
    assert found.compared > found.in_kernel > 2000


@pytest.mark.parametrize("at", range(23))
def test_one_wrong_bpf_instruction_is_caught(at):
    _, addresses = x86_of("raid0")
    code = bytearray(read_object(made("raid0"))["iomap_begin"].code)
    opcode = code[8 * at]
    if opcode in SWAPPED:
        code[8 * at] = SWAPPED[opcode]
    else:
        code[8 * at + 4] ^= 2  # another constant
    try:
        program = KernelProgram(bytes(code), "planted")
    except VerifierError:
        return  # caught before it could run
    with program:
        said = disagreement("raid0", addresses, {"iomap_begin": program})
    assert " as BPF for " in said


def test_the_smallest_input_is_printed():
    _, addresses = x86_of("raid0")
    code = bytearray(read_object(made("raid0"))["iomap_begin"].code)
    (last,) = [at for at in range(len(code) // 8) if code[8 * at] == 0xB7]
    before = struct.pack("<BBhi", 0x7A, 1, 112, 7)  # strip = 7, whatever was asked
    code[8 * last : 8 * last] = before
    with KernelProgram(bytes(code), "planted") as program:
        said = disagreement("raid0", addresses, {"iomap_begin": program})
    assert said == (
        "programs/raid0.py:14: iomap_begin answers [1, 0, 0, 0] interpreted, [1, 0, 0, 0] "
        "compiled and [1, 7, 0, 0] as BPF for unit=1 nr_strips=1 strip_length=1"
    )


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (r"= sub i64", "= add i64"),
        (r"= mul i64", "= add i64"),
        (r"@llvm\.smin\.i64", "@llvm.umin.i64"),
        (r"i64 %arg\.ctx, 16", "i64 %arg.ctx, 24"),
        (r"i64 %arg\.ctx, 112", "i64 %arg.ctx, 120"),
    ],
)
def test_wrong_x86_code_is_caught(right, wrong):
    text, number = re.subn(right, wrong, linked("raid0"), count=2)
    assert number
    if "umin" in wrong:
        text += "\ndeclare i64 @llvm.umin.i64(i64, i64)\n" * ("declare i64 @llvm.umin" not in text)
    engine, addresses = x86_of("raid0", text)
    said = disagreement("raid0", addresses, {})
    assert " compiled for " in said
    assert engine


def test_division_that_rounds_to_zero_is_caught_on_x86(monkeypatch):
    wrong = division.PROCESSOR.replace(
        "%negative = icmp slt i64 %rest, 0", "%negative = icmp eq i64 1, 0"
    )
    assert wrong != division.PROCESSOR
    monkeypatch.setattr(division, "PROCESSOR", wrong)
    engine, addresses = x86_of("raid0")
    assert "pos=-" in disagreement("raid0", addresses, {})
    assert engine


NEGATIVE = """\
def iomap_begin(ctx):
    ctx.strip = (ctx.pos - ctx.count) // ctx.unit
    ctx.addr = (ctx.pos - ctx.count) % ctx.nr_strips
    ctx.length = 4096
    return 1
"""


@pytest.mark.parametrize("wrong", ["%sign = ashr i64 0, 63", "%sign = lshr i64 %value, 63"])
def test_division_that_rounds_to_zero_is_caught_in_the_kernel(monkeypatch, wrong):
    from iomapd.jit.bpf.retarget import bpf_object

    program, text = parsed("negative", NEGATIVE), linked("negative", NEGATIVE)
    monkeypatch.setattr(
        division, "KERNEL", division.KERNEL.replace("%sign = ashr i64 %value, 63", wrong)
    )
    code = read_object(bpf_object(program, text))["iomap_begin"].code
    from iomapd.jit.admission.compile import compile_program

    engine = machine.load_object(compile_program(program).object)
    addresses = {"iomap_begin": engine.get_function_address("iomap_begin")}
    with (
        KernelProgram(code, "planted") as loaded,
        pytest.raises(ProgramError, match=" as BPF for "),
    ):
        agree(program, addresses, STEPS, {"iomap_begin": loaded})
