# SPDX-License-Identifier: MIT
"""Charts of bench.strategies: lines over units, requests and members; a map of ratios."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.candidates import KIB, Candidate
from bench.charts import draw_lines
from bench.report import Found
from bench.rounds import Job, Results
from bench.strategy_costs import WAYS
from bench.strategy_table import GIB, Samples, Where
from iomapd.geometry.sizes import format_size

_LIGHT: Final = (0.05, 20)  # ratios whose colour is light
_WORDS: Final = {
    "bpf": "BPF in the kernel", "cache": "cache: table", "record": "record: formula",
    "program": "program, x86", "shift": "shifts alone", "call": "shifts behind a pointer",
    "upcall": "upcall, asked in place",
}  # fmt: skip


class Panel(NamedTuple):
    """A panel of lines: *figure* divided by *by*, at *places*, which are x and where."""

    name: str
    unit: str
    figure: str
    by: float
    places: Iterable[tuple[int, Where]]


def draw(body: Mapping[str, Any], directory: Path) -> None:
    """Draw all charts into *directory*."""
    samples = Samples(body)
    _lines(samples, "Over the stripe unit", _units(samples), directory / "units.png", "stripe unit")
    _lines(samples, "Over the request", _requests(samples), directory / "requests.png", "request")
    _lines(samples, "Over the members", _members(samples), directory / "members.png", "members")
    _costs(samples, directory / "mapping.png")
    _map(samples, directory / "grid.png")


def _units(samples: Samples) -> list[Panel]:
    units, large = samples.grid["units"], max(samples.grid["requests"])
    tasks = {
        "warm, sequential, 8 in flight": ("warm", "read", large),
        "cold, sequential, 1 in flight": ("cold", "read", large),
        "warm, random, 1 in flight": ("warm", "randread", 4 * KIB),
        "cold, random, 1 in flight": ("cold", "randread", 4 * KIB),
    }
    panels = []
    for name, (phase, pattern, request) in tasks.items():
        places = [(unit, samples.where(phase, pattern, unit, request)) for unit in units]
        asked = f"{name}, {format_size(request)}"
        if pattern == "read":
            panels.append(Panel(f"{asked}: throughput", "GiB/s", "bandwidth", GIB, places))
            panels.append(Panel(f"{asked}: CPU", "s per GiB", "cpu", 1, places))
        else:
            panels.append(Panel(f"{asked}: p50", "us", "p50_ns", 1000, places))
            panels.append(Panel(f"{asked}: p99", "us", "p99_ns", 1000, places))
    return panels


def _requests(samples: Samples) -> list[Panel]:
    panels = []
    for unit in dict.fromkeys((samples.small, samples.middle)):
        for words, figure, pattern, by, of in (
            ("sequential", "bandwidth", "read", GIB, "GiB/s"),
            ("random", "bandwidth", "randread", GIB, "GiB/s"),
            ("random, p50", "p50_ns", "randread", 1000, "us"),
            ("random, p99", "p99_ns", "randread", 1000, "us"),
        ):
            places = [
                (request, samples.where("warm", pattern, unit, request))
                for request in samples.grid["requests"]
            ]
            panels.append(Panel(f"unit {format_size(unit)}, {words}", of, figure, by, places))
    return panels


def _members(samples: Samples) -> list[Panel]:
    large = max(samples.grid["requests"])
    panels = []
    for unit in samples.grid["width_units"]:
        places = [
            (width, samples.where("warm", "read", unit, large, width))
            for width in samples.grid["widths"]
        ]
        name = f"unit {format_size(unit)}, sequential, 8 in flight"
        panels.append(Panel(f"{name}: throughput", "GiB/s", "bandwidth", GIB, places))
        panels.append(Panel(f"{name}: CPU", "s per GiB", "cpu", 1, places))
    return panels


def _lines(samples: Samples, title: str, panels: list[Panel], path: Path, x_label: str) -> None:
    jobs, figures = {}, {}
    for panel in panels:
        for x, where in panel.places:
            name = f"{panel.name} {x}"
            jobs[name] = Job(name, unit=panel.unit, panel=panel.name, x=x)
            for strategy in samples.strategies:
                rounds = samples.rounds(strategy, where, panel.figure)
                # On a logarithmic scale there is no place for what is not there.
                figures[name, strategy] = [it / panel.by for it in rounds if it > 0]
    candidates = {name: Candidate(name, name) for name in samples.strategies}
    tick = format_size if x_label != "members" else str
    found = _found(samples, title, Results(jobs, candidates, figures))
    draw_lines(found, path, x_label, tick)


def _costs(samples: Samples, path: Path) -> None:
    """Draw ns per mapping, and the bytes that mappings hold."""
    ways = [way for way in WAYS if samples.costs(way)]
    size = format_size(samples.body["settings"]["size"])
    cost, held = "one mapping, no data moved", f"held for mappings of {size}"
    results = Results({}, {way: Candidate(way, _WORDS[way]) for way in ways})
    for unit in samples.grid["units"]:
        results.jobs[f"{cost} {unit}"] = Job(f"{cost} {unit}", unit="ns", panel=cost, x=unit)
        for way in ways:
            results.figures[f"{cost} {unit}", way] = list(samples.costs(way).get(unit, []))
    for unit in samples.grid["units"]:
        name = f"{held} {unit}"
        results.jobs[name] = Job(name, unit="bytes", panel=held, x=unit)
        where = samples.where("cold", "read", unit, max(samples.grid["requests"]))
        for way in ("cache", "program"):
            rounds = [it for it in samples.rounds(way, where, "held") if it > 0]
            results.figures[name, way] = rounds
    draw_lines(_found(samples, "What a mapping costs, and holds", results), path, "stripe unit")


def _map(samples: Samples, path: Path) -> None:
    """Draw, for every unit and request, how often the program's rate is each other's."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    grid = samples.grid
    others = [name for name in ("upcall", "cache", "record") if name in samples.strategies]
    figure = Figure(figsize=(10, 6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"program / other, warm, rate of bytes\n{samples.body['on']}", fontsize=9)
    rows = {"read": "sequential, 8 in flight", "randread": "random, 1 in flight"}
    panels = figure.subplots(len(rows), len(others), squeeze=False)
    for axes_of_row, (pattern, words) in zip(panels, rows.items(), strict=True):
        for axes, other in zip(axes_of_row, others, strict=True):
            ratios = [
                [
                    samples.ratio("program", other, samples.where("warm", pattern, unit, request))
                    for unit in grid["units"]
                ]
                for request in grid["requests"]
            ]
            axes.imshow(ratios, norm=LogNorm(0.01, 100), cmap="PuOr_r", origin="lower")
            for y, line in enumerate(ratios):
                for x, ratio in enumerate(line):
                    shown = f"{ratio:.1f}" if ratio >= 2 else f"{ratio:.2f}"
                    colour = "black" if _LIGHT[0] < ratio < _LIGHT[1] else "white"
                    axes.text(x, y, shown, ha="center", va="center", fontsize=6, color=colour)
            for ticks, sizes in ((axes.set_xticks, "units"), (axes.set_yticks, "requests")):
                labels = [format_size(size) for size in grid[sizes]]
                ticks(range(len(labels)), labels, fontsize=6)
            axes.set_title(f"program / {other}: {words}", fontsize=8, loc="left")
            axes.set_xlabel("stripe unit", fontsize=7)
            axes.set_ylabel("request", fontsize=7)
    figure.savefig(path, dpi=150)


def _found(samples: Samples, title: str, results: Results) -> Found:
    body = samples.body
    return Found(
        "strategies", title, body["settings"], lambda *told: None, body["load"], 1.0,
        machine=dict(body["machine"]), results=results,
    )  # fmt: skip
