# SPDX-License-Identifier: MIT
"""Interpreter and compiled code agree on everything, and a disagreement is found and printed."""

import ctypes
import re

import pytest

from iomapd.abi.program import NR_WORDS
from iomapd.errors import ProgramError
from iomapd.jit import machine
from iomapd.jit.admission.agree import agree
from iomapd.jit.admission.bounded import step_bound
from iomapd.jit.admission.interpret import interpret
from iomapd.jit.admission.parse import parse_program
from iomapd.jit.admission.walks import WALK
from iomapd.native.calls import ENTRY
from tests.jit.admission.sources import EVERYTHING, RAID0


def parse(source):
    return parse_program("made", source, "made.py")


@pytest.fixture(scope="module")
def compiled():
    from iomapd.jit.admission.compile import compile_program

    return compile_program(parse(EVERYTHING))


@pytest.mark.slow
def test_everything_that_is_allowed_agrees(compiled):
    program = parse(EVERYTHING)
    engine = machine.load_object(compiled.object)
    addresses = {name: engine.get_function_address(name) for name in program.entries}
    assert len(addresses) == 3
    walk = engine.get_function_address(WALK)
    found = agree(program, addresses, step_bound(program).steps, walk=walk)
    assert found.compared > 1000
    assert found.walks > 50


@pytest.mark.slow
def test_nothing_but_the_entries_is_left_of_a_program(compiled):
    assert compiled.ir.count("define ") == 3
    assert re.findall(r"call .*@(?!llvm\.)\w+", compiled.ir) == []
    assert "call" not in compiled.assembly
    assert compiled.instructions > 100


def entry_of(source):
    """The address of another program's iomap_begin, and what keeps it."""
    run = interpret(parse(source))

    def called(address):
        return run((ctypes.c_int64 * NR_WORDS).from_address(address))

    entry = ENTRY(called)
    return entry, ctypes.cast(entry, ctypes.c_void_p).value


def disagreement(source):
    keep, address = entry_of(source)
    with pytest.raises(ProgramError) as caught:
        agree(parse(RAID0), {"iomap_begin": address}, 17)
    assert keep
    return str(caught.value)


def test_a_walk_with_another_program_in_it_is_found(compiled):
    walk = machine.load_object(compiled.object)
    keep, address = entry_of(RAID0)
    with pytest.raises(ProgramError) as caught:
        agree(parse(RAID0), {"iomap_begin": address}, 1000, walk=walk.get_function_address(WALK))
    said = str(caught.value)
    assert said.startswith("made.py:6: iomap_begin finds [")
    assert re.search(r"\] interpreted and \[.*\] compiled into its walk for pos=\d+ count=", said)
    assert keep


def test_the_same_program_agrees_with_itself():
    keep, address = entry_of(RAID0)
    assert agree(parse(RAID0), {"iomap_begin": address}, 1000).compared > 1000
    assert keep


def test_a_wrong_answer_is_found_and_made_small():
    said = disagreement(RAID0.replace("ctx.strip = unit", "ctx.strip = 1 + unit"))
    assert said == (
        "made.py:6: iomap_begin answers [1, 0, 0, 0] interpreted and [1, 1, 0, 0] compiled "
        "for unit=1 nr_strips=1"
    )


def test_a_wrong_answer_in_one_place_of_many_is_found():
    said = disagreement(
        RAID0.replace("return", "if ctx.pos < -4096:\n        return 0\n    return")
    )
    assert "interpreted and [0] compiled for pos=-" in said


def test_a_wrong_status_is_a_disagreement():
    assert "[1, 0, 0, 0] interpreted and [3] compiled" in disagreement(
        RAID0.replace("return HANDLED", "return 3")
    )
