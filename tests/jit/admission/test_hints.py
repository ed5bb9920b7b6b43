# SPDX-License-Identifier: MIT
"""Hints in the language: words that may be set, beside an answer, and read after that."""

import struct

import pytest

from iomapd.abi import HANDLED
from iomapd.abi.program import CTX_WORDS, HINT_WORDS, NR_WORDS
from iomapd.errors import ProgramError
from iomapd.jit import machine
from iomapd.jit.admission import admit
from iomapd.jit.admission.agree import agree
from iomapd.jit.admission.interpret import interpret
from iomapd.jit.admission.judge_hints import judge_hints
from iomapd.jit.admission.lower import functions_of, lower
from iomapd.jit.admission.parse import parse_program
from iomapd.native.region import Region
from tests.jit.admission.sources import RAID0
from tests.jit.admission.test_agree import entry_of

AHEAD = RAID0.replace(
    "    return HANDLED",
    """\
    if ctx.count > ctx.unit:
        ctx.upsert_pos = ctx.pos + ctx.length
        ctx.upsert_length = ctx.unit
        ctx.upsert_strip = (ctx.strip + 1) % ctx.nr_strips
        ctx.upsert_addr = (unit_index + 1) // ctx.nr_strips * ctx.unit
    if ctx.pos:
        ctx.invalidate_length = ctx.pos
    return HANDLED""",
)
OLD_NAME = RAID0.replace("\n\ndef", '\nPARAMS = ("upsert_pos", "upsert_length")\n\n\ndef').replace(
    "ctx.length = ", "ctx.length = 0 * ctx.upsert_pos + "
)
FIRST = CTX_WORDS.index(HINT_WORDS[0])


def parse(source):
    return parse_program("made", source, "made.py")


def record(pos, garbage=0):
    words = [pos, 16 * 65536 - pos, 65536, 4, 4 * 65536, 1]
    words += [0] * (NR_WORDS - len(words))
    words[FIRST : FIRST + 6] = [garbage] * 6
    return words


def region_of(words):
    region = Region(8 * NR_WORDS)
    region.write(0, struct.pack(f"<{NR_WORDS}q", *words))
    return region


def hints_of(words):
    return dict(zip(HINT_WORDS, words[FIRST : FIRST + 6], strict=True))


def test_hints_are_left_beside_the_answer():
    words = record(5 * 65536)
    assert interpret(parse(AHEAD))(words) == HANDLED
    assert hints_of(words) == {
        "upsert_pos": 6 * 65536, "upsert_length": 65536, "upsert_strip": 2, "upsert_addr": 65536,
        "invalidate_pos": 0, "invalidate_length": 5 * 65536,
    }  # fmt: skip
    words = record(15 * 65536)
    assert interpret(parse(AHEAD))(words) == HANDLED
    assert hints_of(words)["upsert_length"] == 0


def test_what_a_path_does_not_hint_at_is_zero_whatever_lay_there():
    entry = functions_of(lower(parse(AHEAD)))["iomap_begin"]
    region = region_of(record(0, 77))
    assert entry(region.addr) == HANDLED
    hints = hints_of(list(region.words())[:NR_WORDS])
    assert hints["invalidate_length"] == 0
    assert hints["invalidate_pos"] == 77, "a word that the program does not name is not its own"


def test_a_program_without_hints_leaves_the_words_alone():
    words = record(65536, 77)
    assert parse(RAID0).hints == frozenset()
    assert interpret(parse(RAID0))(words) == HANDLED
    assert set(hints_of(words).values()) == {77}


def test_a_parameter_that_has_the_name_of_a_hint_stays_a_parameter():
    program = parse(OLD_NAME)
    assert program.params == ("upsert_pos", "upsert_length")
    assert program.hints == frozenset()
    assert "upsert_pos" in program.fields
    refused = OLD_NAME.replace("    return", "    ctx.upsert_pos = 1\n    return")
    with pytest.raises(ProgramError, match=r"ctx.upsert_pos is an input; it cannot be assigned"):
        parse(refused)


def test_a_hint_is_not_read_before_it_is_set():
    with pytest.raises(ProgramError, match=r"ctx.upsert_length may be read before it is set"):
        parse(RAID0.replace("    return", "    ctx.upsert_length += 1\n    return"))


@pytest.mark.parametrize("name", HINT_WORDS)
def test_ends_have_no_hints(name):
    with pytest.raises(ProgramError, match=f"ctx has no field {name}"):
        parse(f"{RAID0}\n\ndef iomap_end(ctx):\n    ctx.{name} = 1\n")


def test_executions_that_hint_otherwise_do_not_agree():
    keep, address = entry_of(AHEAD.replace("ctx.strip + 1", "ctx.strip + 2"))
    with pytest.raises(ProgramError, match=r"iomap_begin answers .* interpreted and .* compiled"):
        agree(parse(AHEAD), {"iomap_begin": address}, 20)
    assert keep


@pytest.mark.slow
def test_a_program_with_hints_passes_every_stage():
    found = admit("ahead", AHEAD, "ahead.py")
    assert found.accepted, found.refusal
    assert found.hints == (*HINT_WORDS[:4], "invalidate_length")
    assert found.stages[0].detail.endswith("with hints")
    assert found.is_raid0, "hints are no part of the map"
    assert found.stages[-1].detail.endswith("; 176 of 176 hinted upserts are true")
    assert {stage.status for stage in found.stages} <= {"pass", "skip"}


LIES = {
    "ctx.upsert_strip = (ctx.strip + 1)": "ctx.upsert_strip = (ctx.strip + 2)",
    "ctx.upsert_pos = ": "ctx.upsert_pos = 1 + ",
    "ctx.upsert_addr = ": "ctx.upsert_addr = 4096 + ",
    "ctx.upsert_length = ": "ctx.upsert_length = 2 * ",
    "ctx.upsert_length = ctx.unit": "ctx.upsert_length = -4096",
    "ctx.upsert_pos = ctx.pos": "ctx.upsert_pos = -ctx.unit",
}


@pytest.mark.parametrize("was", LIES)
def test_hints_are_judged_against_the_map(was):
    source = AHEAD.replace(was, LIES[was])
    assert source != AHEAD
    keep, address = entry_of(source)
    judged = judge_hints(address, ())
    assert keep
    assert judged.upserts == 176
    assert judged.true <= 16, "no more than by chance"


@pytest.mark.slow
def test_the_machine_code_clears_what_it_does_not_set():
    from iomapd.jit.admission.compile import compile_program
    from iomapd.native.calls import call1

    engine = machine.load_object(compile_program(parse(AHEAD)).object)
    region = region_of(record(0, -1))
    assert call1(engine.get_function_address("iomap_begin"), region.addr) == HANDLED
    hints = hints_of(list(region.words()))
    assert (hints["invalidate_length"], hints["upsert_pos"]) == (0, 65536)
