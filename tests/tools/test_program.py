# SPDX-License-Identifier: MIT
"""Programs are listed, asked by hand, and timed."""

from dataclasses import astuple

import pytest

from iomapd.errors import ProgramError, UsageError
from iomapd.jit.admission import Geometry
from iomapd.tools import program, program_bpf, program_sizes

PARAMETRISED = '''\
"""Made for this test."""

PARAMS = ("shift",)


def iomap_begin(ctx):
    index = ctx.pos // ctx.unit
    ctx.strip = (index + ctx.shift) % ctx.nr_strips
    ctx.addr = index // ctx.nr_strips * ctx.unit + ctx.pos % ctx.unit
    ctx.length = 4096
    return 1
'''


@pytest.fixture
def made(tmp_path):
    path = tmp_path / "made.py"
    path.write_text(PARAMETRISED)
    return str(path)


def test_every_shipped_program_is_listed_with_what_it_does():
    found = {listing.name: listing for listing in program.list_programs()}
    assert found["raid0"].summary == "RAID0: consecutive units go to consecutive strips."
    assert all(listing.summary and not listing.refusal for listing in found.values())


def test_a_program_that_does_not_parse_is_listed_with_the_reason(tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("import os\n")
    monkeypatch.setattr(program, "shipped_dir", lambda kind: tmp_path)
    (listing,) = program.list_programs()
    assert listing.name == "broken"
    assert "broken.py:1: import is not allowed" in listing.refusal


def test_a_mapping_by_hand_names_what_the_program_sees(made):
    geometry = program.geometry_of(made, 65536, 4, 1 << 20, 7, {"shift": 3})
    answer = program.ask_program(made, geometry, 5 * 65536 + 4096)
    assert answer.given == {
        "pos": 331776, "count": (4 << 20) - 331776, "unit": 65536, "nr_strips": 4,
        "strip_length": 1 << 20, "seed": 7, "shift": 3,
    }  # fmt: skip
    assert answer.answers == {"strip": 0, "addr": 65536 + 4096, "length": 4096}
    assert answer.status == 1
    assert answer.fault == ""


def test_a_wrong_answer_says_which_rule_it_breaks(tmp_path):
    path = tmp_path / "wrong.py"
    path.write_text(PARAMETRISED.replace("% ctx.nr_strips", "% 1000"))
    geometry = program.geometry_of(str(path), 65536, 4, 1 << 20, 1, {"shift": 9})
    answer = program.ask_program(str(path), geometry, 0)
    assert answer.fault == "goes to strip 9, which is not in 0..3"


@pytest.mark.parametrize("pos", [-4096, 100, 1 << 40])
def test_a_position_that_is_no_block_of_the_extent_is_refused(made, pos):
    with pytest.raises(UsageError, match=f"--pos {pos}: must be a multiple of 4096 below 4194304"):
        program.ask_program(made, Geometry(65536, 4, 1 << 20), pos)


@pytest.mark.parametrize("values", [(100, 4, 4096), (4096, 4, 100), (4096, 4, 1 << 62)])
def test_sizes_that_are_no_extent_are_refused(made, values):
    with pytest.raises(UsageError, match="unit and strip length are positive multiples"):
        program.geometry_of(made, *values, 1, {"shift": 1})


def test_a_parameter_that_is_missing_or_unknown_is_named(made):
    with pytest.raises(ProgramError, match='needs parameter "shift"'):
        program.geometry_of(made, 4096, 4, 4096, 1, {})
    with pytest.raises(ProgramError, match='parameter "other" = 1'):
        program.geometry_of(made, 4096, 4, 4096, 1, {"shift": 1, "other": 1})


def test_a_program_that_is_not_there_names_those_that_are():
    with pytest.raises(ProgramError, match=r"shipped programs: .*raid0"):
        program.open_source("raid7")


@pytest.mark.slow
def test_refused_and_accepted_are_told_apart(made, tmp_path):
    assert program.check_program(made, {"shift": 2}).accepted
    path = tmp_path / "wrong.py"
    path.write_text(PARAMETRISED.replace("4096", "1"))
    assert not program.check_program(str(path), {}).accepted


@pytest.mark.slow
def test_listings_come_from_the_compiler_and_not_without_it(made, tmp_path):
    found = program.translate_program(made)
    assert "iomap_begin" in found.assembly
    assert "(95) exit" in program_bpf.listing_of(found)
    path = tmp_path / "wrong.py"
    path.write_text("while 1: pass\n")
    with pytest.raises(ProgramError, match="while has no bound"):
        program.translate_program(str(path))


@pytest.mark.slow
def test_proofs_are_timed_or_extrapolated(monkeypatch):
    monkeypatch.setattr(program_sizes, "SIZES", (1 << 22, 1 << 24, 1 << 26))
    measured = program_sizes.time_proofs("raid0", {})
    assert [(cost.blocks, cost.memory) for cost in measured] == [
        (1024, 128), (4096, 512), (16384, 2048),
    ]  # fmt: skip
    assert all(cost.measured and not cost.sentence for cost in measured)
    monkeypatch.setattr(program_sizes, "PATIENCE_NS", 0)
    first, *others = program_sizes.time_proofs("raid0", {})
    assert first.measured
    assert not any(cost.measured for cost in others)
    assert others[0].ns == pytest.approx(4 * first.ns, rel=0.01)


@pytest.mark.slow
def test_timing_compares_three_ways_in_one_run(monkeypatch):
    monkeypatch.setattr(program, "ROUNDS", 2)
    monkeypatch.setattr(program, "_COMPILED", 1000)
    monkeypatch.setattr(program, "_INTERPRETED", 10)
    seen = []
    geometry = Geometry(65536, 4, 1 << 20)
    report = program.time_program("raid0", geometry, lambda *step: seen.append(step))
    for cost in (report.compiled, report.formula, report.interpreted):
        low, middle, high = cost.low, *astuple(cost)[::2]
        assert 0 < low <= middle <= high
    assert (report.in_kernel is None) == bool(report.why_not)
    assert report.to_json()["schema"] == "iomapd.program.bench"
    assert seen[-1] == ("timing the kernel", 2, 2)
