# SPDX-License-Identifier: MIT
"""Programs become BPF that the kernel takes, in every instruction set, and their lines survive."""

import ctypes

import pytest

from iomapd.abi.program import CTX_WORDS, ENTRIES, NR_WORDS
from iomapd.abi.shipped import shipped_dir
from iomapd.jit.admission.interpret import interpret
from iomapd.jit.bpf.elf import read_object
from iomapd.jit.bpf.kernel import KernelProgram
from iomapd.jit.bpf.retarget import VERSIONS
from tests.jit.admission.sources import EVERYTHING
from tests.jit.bpf.conftest import made, parsed

NAMES = sorted(path.stem for path in shipped_dir("programs").glob("*.py"))

pytestmark = pytest.mark.slow


def record_of(**fields):
    words = [0] * NR_WORDS
    for name, value in fields.items():
        words[CTX_WORDS.index(name)] = value
    return words


def asked(program, words):
    record = (ctypes.c_int64 * NR_WORDS)(*words)
    return program.run(record), record[14:17]


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("name", NAMES)
def test_the_kernel_takes_every_shipped_program(name):
    (code,) = read_object(made(name)).values()
    interpreted = interpret(parsed(name))
    with KernelProgram(code.code, code.name) as program:
        assert program.verified.processed >= code.instructions > 10
        for pos in (0, 4096, 5 << 16, (1 << 22) - 4096):
            words = record_of(
                pos=pos,
                count=(1 << 22) - pos,
                unit=65536,
                nr_strips=4,
                strip_length=1 << 20,
                seed=6,
            )
            expected = list(words)
            status = interpreted(expected)
            assert asked(program, words) == (status, expected[14:17])


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("version", VERSIONS)
def test_older_instruction_sets_give_the_same_answers(version):
    for name in ("raid0", "linear", "declustered"):
        (code,) = read_object(made(name, None, version)).values()
        words = record_of(
            pos=7 << 16, count=1 << 20, unit=65536, nr_strips=5, strip_length=1 << 20, seed=9
        )
        expected = list(words)
        interpret(parsed(name))(expected)
        with KernelProgram(code.code, code.name) as program:
            assert asked(program, words) == (1, expected[14:17])


def test_raid0_is_short():
    (code,) = read_object(made("raid0")).values()
    assert code.instructions <= 30


def test_every_entry_is_a_program():
    codes = read_object(made("everything", EVERYTHING))
    assert set(codes) == set(ENTRIES)
    assert all(code.code[-8] == 0x95 or code.instructions for code in codes.values())


def test_instructions_know_their_lines():
    (code,) = read_object(made("raid0")).values()
    text = parsed("raid0").text.splitlines()
    assert len({line.number for line in code.lines}) >= 7
    for line in code.lines:
        assert line.text == text[line.number - 1]


def test_lines_of_helpers_are_their_own():
    codes = read_object(made("declustered"))
    numbers = {line.number for line in codes["iomap_begin"].lines}
    text = parsed("declustered").text.splitlines()
    assert any("0x21F0AAAD" in text[number - 1] for number in numbers)


def test_text_that_is_no_ascii_is_carried_along():
    text = '"""Größe \\\\ "quoted"."""\n' + parsed("raid0").text.partition('"""\n\n')[2]
    codes = read_object(made("quoted", text))
    assert codes["iomap_begin"].lines[0].text.startswith("def iomap_begin")
