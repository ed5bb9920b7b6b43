# SPDX-License-Identifier: MIT
"""The comparison of strategies still runs, and its page says what its samples say."""

import json
import sys
from pathlib import Path

import pytest

from bench import strategies, strategy_charts, strategy_page
from bench.candidates import KIB, MIB, BenchError
from bench.strategies import Grid
from bench.strategy_runs import Shape, Task
from bench.strategy_table import GIB, Samples

SIZE = 4 * MIB
RATES = {"upcall": 0.01, "cache": 2.0, "record": 4.0, "program": 3.0}
PAGE = Path(__file__).parent.parent / "docs" / "comparison.md"


def sample(strategy, task, number):
    """What *strategy* might have done; a cache keeps a record per unit, others an extent."""
    rate = RATES[strategy] * (1 + number) * GIB
    return {
        "strategy": strategy, "phase": task.phase, "pattern": task.pattern,
        "unit": task.shape.unit, "width": task.shape.width, "request": task.request,
        "round": number, "bandwidth": rate, "iops": rate / task.request,
        "p50_ns": 1e3 / RATES[strategy], "p99_ns": 5e3 / RATES[strategy],
        "server_p50_ns": 1, "server_p99_ns": 2, "bytes": SIZE, "cpu_ns_per_gib": 2.5e8,
        "parked": 4, "lookups": 4, "memory": MIB,
        "records": SIZE // task.shape.unit if strategy == "cache" else 1,
    }  # fmt: skip


@pytest.fixture
def body():
    grid = strategies.QUICK
    tasks = [*grid.cold(), *grid.warm()]
    return {
        "date": "2026-01-01", "on": "2 x Z80", "load": [0.1, 2.0], "busy": False,
        "machine": {"cpus": 2, "cpu": "Z80", "memory": MIB, "kernel": "6", "fio": "3",
                    "iomapd": "1"},
        "settings": {"size": SIZE, "rounds": 2, "seconds": 0.1, "lanes": 2},
        "grid": vars(grid),
        "samples": [sample(s, t, n) for n in range(2) for t in tasks for s in RATES],
        "mapping": [
            *({"way": way, "unit": unit, "ns": [10.0, 12.0]}
              for way in ("record", "program", "cache") for unit in grid.units),
            {"way": "bpf", "skipped": "needs root"},
        ],
    }  # fmt: skip


def test_every_task_has_its_file_and_comes_once():
    grid = Grid()
    tasks = [*grid.cold(), *grid.warm()]
    assert len(set(tasks)) == len(tasks)
    assert {task.shape for task in tasks} == set(grid.shapes())
    assert {task.request for task in tasks} == set(grid.requests)
    assert {task.shape.width for task in tasks} == set(grid.widths)


def test_a_cold_task_asks_for_nothing_twice():
    grid = Grid(cold_requests=1000)
    through = grid.point(Task("cold", "read", Shape(MIB, 4), MIB), SIZE)
    assert (through.requests, through.depth) == (4, 1)
    assert grid.point(Task("cold", "randread", Shape(MIB, 4), 4 * KIB), GIB).requests == 1000
    assert grid.point(Task("warm", "read", Shape(MIB, 4), MIB), SIZE).requests == 0


def test_ratios_are_taken_within_rounds(body):
    samples = Samples(body)
    where = samples.where("warm", "read", MIB, MIB)
    assert samples.rounds("cache", where, "bandwidth") == [2 * GIB, 4 * GIB]
    assert samples.ratio("program", "cache", where) == pytest.approx(1.5)
    assert samples.ratios("program", "record") == [pytest.approx(0.75)] * 8
    assert samples.median("cache", samples.where("warm", "read", 64, MIB), "bandwidth") is None


def test_what_is_held_follows_from_records(body):
    samples = Samples(body)
    where = samples.where("cold", "read", 4 * KIB, MIB)
    assert samples.median("cache", where, "held_per_gib") == 8 * MIB
    assert samples.median("cache", where, "held") == 1024 * 32
    assert samples.median("program", where, "held") == 24 + 8 * 18 + 4 * 16
    assert samples.median("upcall", where, "trips") == 4 * GIB / SIZE


def test_the_page_says_what_was_found(body):
    text = strategy_page.section(body)
    assert "2 x Z80" in text
    assert "300 times what upcalls move, 1.50 times what the cache moves" in text
    assert "needs root" in text
    assert "| 4KiB | 0.015 ±33% | 3 ±33% | 6 ±33% | 4.5 ±33% |" in text
    assert "| 4KiB | 8MiB | 1MiB | 1MiB | 32MiB | 256MiB |" in text
    assert "mean nothing" not in text
    assert "mean nothing" in strategy_page.section({**body, "busy": True})


def test_a_rerun_changes_the_figures_and_nothing_else(body, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text())
    strategy_page.update(page, "first")
    once = page.read_text()
    strategy_page.update(page, "second")
    assert page.read_text() == once.replace("first", "second", 1)
    assert once.startswith(PAGE.read_text().partition(strategy_page.BEGIN)[0])
    page.write_text("no markers")
    with pytest.raises(BenchError, match="gone"):
        strategy_page.update(page, "third")


def test_charts_are_drawn(body, tmp_path):
    strategy_charts.draw(body, tmp_path)
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == {"units.png", "requests.png", "members.png", "mapping.png", "grid.png"}
    links = {line.rpartition("/")[2][:-1] for line in strategy_page.section(body).splitlines()
             if line.startswith("![")}  # fmt: skip
    assert links == drawn


@pytest.mark.slow
@pytest.mark.mounted
def test_strategies_are_compared(monkeypatch, capsys, tmp_path):
    grid = Grid((64 * KIB,), (64 * KIB,), (2,), 2, (64 * KIB,), cold_requests=4)
    monkeypatch.setattr(strategies, "QUICK", grid)
    monkeypatch.setattr(strategies, "STRATEGIES", ("upcall", "program"))
    monkeypatch.setattr("signal.signal", lambda *given: None)
    monkeypatch.setattr(sys, "argv", ["strategies", "--quick", "--results", str(tmp_path)])
    strategies.main()
    assert "program" in capsys.readouterr().out
    found = json.loads((tmp_path / "strategies.json").read_text())
    tasks = len([*grid.cold(), *grid.warm()])
    assert len(found["samples"]) == tasks * len(strategies.STRATEGIES)
    first = {it["strategy"]: it for it in found["samples"] if it["phase"] == "cold"}
    assert all(it["bandwidth"] > 0 and it["bytes"] > 0 for it in found["samples"])
    assert first["upcall"]["parked"] >= first["program"]["parked"]
    assert PAGE.read_text().count(strategy_page.BEGIN) == 1
