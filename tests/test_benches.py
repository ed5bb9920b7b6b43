# SPDX-License-Identifier: MIT
"""The benches still run, and what they conclude follows from what they found."""

import json
import sys
from array import array
from ctypes import CFUNCTYPE, c_int64, c_void_p, cast

import pytest

from bench import (
    caching,
    candidates,
    charts,
    data_plane,
    mapping_cost,
    mapping_loops,
    report,
    request_sweep,
    unit_sweep,
)
from bench.candidates import KIB, MIB, BenchError, Candidate
from bench.rounds import Access, Goal, Job, Results, spread
from iomapd.dataplane.engine import encode
from iomapd.dataplane.request import PIECES, REQUEST_SIZE, lay_out
from iomapd.mapping.extent import Extent, Strip
from iomapd.mapping.walk import PIECE_SIZE
from iomapd.native.memory import load64
from iomapd.native.region import Region
from iomapd.tools.fio import Point, Rate
from iomapd.tools.machine import describe

FAST, SLOW = "fast", "slow"


@pytest.fixture
def results():
    found = Results(
        {"read": Access("read", Point("read", True, 1)), "rest": Job("rest", unit="k/s", x=KIB)},
        {name: Candidate(name, f"the {name} one") for name in (FAST, SLOW)},
    )
    found.figures["read", FAST] += [4.0, 9.0, 6.0]
    found.figures["read", SLOW] += [2.0, 3.0, 2.0]
    found.figures["rest", FAST] += [1000.0]
    return found


@pytest.fixture
def found(results):
    settings = {"rounds": 3, "seconds": 0.5, "size": MIB}
    made = report.Found("try", "A try", settings, lambda *told: None, [0.25, 1.5], 1.0)
    made.machine, made.results = describe() | {"cpus": 2, "cpu": "Z80"}, results
    made.goals = (
        Goal("read", 2.5, SLOW, candidate=FAST),
        Goal("read", 4, SLOW, candidate=FAST),
        Goal("rest", 1, SLOW, candidate=FAST),
    )
    return made


def test_a_ratio_is_taken_within_rounds(results):
    goal = Goal("read", 3.0, SLOW, candidate=FAST)
    assert results.ratios(goal) == [2.0, 3.0, 3.0]
    assert goal.is_met_by(results.ratios(goal))
    assert not Goal("read", 3.1, SLOW, candidate=FAST).is_met_by(results.ratios(goal))
    assert not Goal("read", 2.9, SLOW, candidate=FAST, at_most=True).is_met_by([3.0])


def test_a_goal_may_compare_two_jobs_of_one_candidate(results):
    results.figures["rest", SLOW] += [4.0, 1.0, 4.0]
    assert results.ratios(Goal("read", 1, SLOW, "rest", candidate=SLOW)) == [0.5, 3.0, 0.5]


def test_what_was_not_measured_has_no_ratio_and_no_verdict(found):
    _, rows = report.verdicts(found.results, found.goals)
    assert [(row[2], row[4]) for row in rows] == [(">= 2.5", "met"), (">= 4", "SHORT")]
    assert report.body(found)["goals"][2] | {"of": ""} == {
        "job": "rest", "factor": 1, "of": "", "of_job": "", "candidate": FAST,
        "at_most": False, "found": None, "met": False,
    }  # fmt: skip


def test_spread_is_half_the_way_from_best_to_worst():
    assert spread([4.0, 9.0, 6.0]) == pytest.approx(2.5 / 6)


def test_small_requests_are_counted_large_ones_measured_in_bytes():
    rate = Rate(bandwidth=3 << 30, iops=5000, latency_ns=1)
    assert Access("x", Point("read", True, 1)).figure(rate) == 3
    assert Access("x", Point("read", True, 1, 4 * KIB), unit="k/s").figure(rate) == 5


def test_the_report_names_machine_load_and_every_figure(found):
    text = report.markdown(found)
    assert "2 x Z80" in text
    assert "Load before 0.2, after 1.5." in text
    assert "| read | 6 ±42% | 2 ±25% | GiB/s |" in text
    assert "| rest | 1,000 ±0% | - | k/s |" in text
    assert "mean nothing" not in text
    found.load[0] = 3
    assert "mean nothing" in report.markdown(found)
    assert "3.00 ±17%" in "\n".join(report.text(found))


@pytest.mark.parametrize("draw", [charts.draw_bars, charts.draw_lines])
def test_charts_are_drawn(found, tmp_path, draw):
    draw(found, tmp_path / "c.png", *(["x"] if draw is charts.draw_lines else []))
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_made_here_is_said(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert candidates.hindrance(("sh",)) == ""
    assert candidates.hindrance(("root", "sh")) == "needs root"
    assert candidates.hindrance(("sh", "no-such-thing")) == "no-such-thing: not installed"
    with pytest.raises(BenchError, match="No such file"):
        candidates.run("cat", "/no/such/file")


def test_a_sweep_has_a_job_for_every_panel_and_place():
    assert len({(job.panel, job.x) for job in request_sweep.JOBS}) == len(request_sweep.JOBS)
    assert len({(job.panel, job.x) for job in unit_sweep.JOBS}) == len(unit_sweep.JOBS)
    assert set(request_sweep.CANDIDATES) <= set(candidates.WORDS)


@pytest.mark.parametrize("bench", [data_plane, unit_sweep, mapping_cost])
def test_goals_speak_of_jobs_there_are(bench):
    names = {job.name for job in bench.JOBS}
    assert names >= {name for goal in bench.GOALS for name in (goal.job, goal.base[0])}


@pytest.mark.slow
@pytest.mark.mounted
@pytest.mark.parametrize(
    ("bench", "words"),
    [(data_plane, ["--only", "raw", "lanes"]), (unit_sweep, [])],
    ids=["data_plane", "unit_sweep"],
)
def test_a_mounted_bench_runs(monkeypatch, capsys, tmp_path, bench, words):
    monkeypatch.setattr(bench, "JOBS", bench.JOBS[-2:])
    monkeypatch.setattr(bench, "STRATEGIES", ("program",), raising=False)
    _run(monkeypatch, bench, tmp_path, "--seconds", "0.02", "--size", "16MiB", *words)
    name = bench.__name__.split(".")[1]
    figures = json.loads((tmp_path / f"{name}.json").read_text())["figures"]
    assert len(figures) >= 2
    assert all(figure["median"] > 0 for figure in figures)
    assert bench.JOBS[-1].name in capsys.readouterr().out
    assert bench.JOBS[-1].name in (tmp_path / f"{name}.md").read_text()
    assert (tmp_path / f"{name}.png").stat().st_size > 0


def test_the_cost_of_a_mapping_is_measured_for_every_strategy(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(mapping_cost, "UNITS", (MIB,))
    _run(monkeypatch, mapping_cost, tmp_path, "--seconds", "0")
    figures = json.loads((tmp_path / "mapping_cost.json").read_text())["figures"]
    assert {(figure["job"].split(",")[0], figure["candidate"]) for figure in figures} == {
        *((form, it) for form in mapping_cost.FORMS for it in mapping_cost.STRATEGIES),
        *(("lane", it) for it in mapping_cost.LANES),
    }
    assert "lane, unit 1MiB" in capsys.readouterr().out


def test_every_way_of_a_lane_finds_the_same_places():
    member_size, unit = 4 * MIB, 64 * KIB
    strips = tuple(Strip(number, 0) for number in range(mapping_cost.NR_STRIPS))
    extent = Extent(7, 0, 4 * member_size, 1, unit, 7, member_size, member_size, strips)
    request, positions = Region(REQUEST_SIZE), array("q", (MIB + 4 * KIB,))
    lay_out(request.addr, 0, 0)
    asked = (*positions.buffer_info(), 2 * MIB, request.addr)
    words = encode(extent, (), 0, "raid0")
    places = mapping_cost.PlaceTable(list(mapping_cost._places(extent)))
    behind = CFUNCTYPE(c_int64, c_int64)(mapping_loops.shift_behind_pointer)
    shape = array("q", (16, 2, cast(behind, c_void_p).value, 0, 0, 0, 0))

    def pieces(function, where):
        count = function(where, *asked)
        at = load64(request.addr + PIECES)
        return [load64(at + word) for word in range(0, count * PIECE_SIZE, 8)]

    expected = pieces(mapping_loops.map_requests, words.addr)
    assert len(expected) == 33 * 4
    assert pieces(mapping_loops.look_up_requests, places.addr) == expected
    assert pieces(mapping_loops.shift_requests, shape.buffer_info()[0]) == expected
    assert pieces(mapping_loops.call_requests, shape.buffer_info()[0]) == expected


def _run(monkeypatch, bench, directory, *words):
    asked = ["--rounds", "1", "--results", str(directory), *words]
    monkeypatch.setattr(sys, "argv", [bench.__name__, *asked])
    monkeypatch.setattr("signal.signal", lambda *given: None)
    bench.main()


def test_every_measure_of_the_caching_bench_measures_and_cleans_up(tmp_path):
    for measured in caching.MEASURES.values():
        assert measured(tmp_path, 2 * MIB) > 0
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
