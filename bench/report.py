# SPDX-License-Identifier: MIT
"""What a bench leaves behind: JSON with every round, a table in Markdown, a chart, a verdict.

The three are named after the bench and lie in bench/results/, with the machine described.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

from bench.rounds import Goal, Progress, Results, spread
from iomapd.cli.console import progress_bar, table
from iomapd.geometry.sizes import format_size, parse_size
from iomapd.tools import machine

LOAD_MAX = 1.0  # processes that want a CPU before a bench starts; more spoil it
RESULTS = Path(__file__).parent / "results"
_OTHERS = ("mergerfs", "bindfs", "mkfs.btrfs")

Draw = Callable[["Found", Path], None]


@dataclass
class Found:
    """A bench and what it found."""

    name: str
    title: str
    settings: dict[str, Any]
    progress: Progress
    load: list[float]
    load_max: float
    goals: Sequence[Goal] = ()
    notes: list[str] = field(default_factory=list)
    machine: dict[str, object] = field(default_factory=machine.describe)
    results: Results = field(default_factory=lambda: Results({}, {}))

    @property
    def on(self) -> str:
        """The machine, in a line."""
        about = self.machine
        memory = format_size(int(str(about["memory"])))
        return f"{about['cpus']} x {about['cpu']}, {memory}, Linux {about['kernel']}"

    @property
    def is_busy(self) -> bool:
        """Whether others wanted the CPUs when it started."""
        return self.load[0] > self.load_max


def parser(title: str, *, rounds: int = 5, seconds: float = 0.6, size: str = ""):
    """Return a parser of the options that every bench has."""
    made = argparse.ArgumentParser(description=f"{title}.")
    made.add_argument("--rounds", type=int, default=rounds, help="that count; one more warms up")
    made.add_argument("--seconds", type=float, default=seconds, help="length of a measurement")
    if size:
        made.add_argument("--size", type=_size, default=parse_size(size), help="of a file")
    made.add_argument("--results", type=Path, default=RESULTS, help="where the results go")
    return made


@contextmanager
def begun(
    name: str, title: str, arguments: argparse.Namespace, *, load_max: float = LOAD_MAX
) -> Iterator[Found]:
    """Show progress and note the load for the length of a bench; a load that spoils it is told."""
    settings = {key: value for key, value in vars(arguments).items() if key != "results"}
    with progress_bar() as progress:
        found = Found(name, title, settings, progress, [os.getloadavg()[0]], load_max)
        yield found
    found.load.append(os.getloadavg()[0])


def lengths(found: Found) -> dict[str, Any]:
    """Return what `rounds.take_turns` wants to know of the options."""
    chosen = {key: found.settings[key] for key in ("size", "rounds", "seconds")}
    return chosen | {"progress": found.progress}


def finish(found: Found, draw: Draw, directory: Path) -> None:
    """Print the report; write it, the JSON and the chart into *directory*."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{found.name}.json").write_text(json.dumps(body(found), indent=1) + "\n")
    (directory / f"{found.name}.md").write_text(markdown(found))
    draw(found, directory / f"{found.name}.png")
    print("\n".join(line for line in text(found)))


def body(found: Found) -> dict[str, Any]:
    """Return everything for JSON."""
    return {
        "schema": f"iomapd.bench.{found.name}",
        "version": 1,
        "date": date.today().isoformat(),
        "machine": found.machine | {name: machine.program_version(name) for name in _OTHERS},
        "load": found.load,
        "settings": found.settings,
        "figures": found.results.body(),
        "goals": [_goal_body(found.results, goal) for goal in found.goals],
    }


def text(found: Found) -> Iterator[str]:
    """Yield the lines of the report for a terminal."""
    head, rows = figures(found.results)
    yield f"{found.title}: {found.on}"
    yield from ("", table(head, rows, left="JOB UNIT"))
    if found.goals:
        head, rows = verdicts(found.results, found.goals)
        yield from ("", table(head, rows, left="JOB COMPARED VERDICT"))
    yield from ("", *notes(found))


def markdown(found: Found) -> str:
    """Return the report as a Markdown document."""
    lines = [f"# {found.title}", "", found.on + ".", ""]
    lines += [*notes(found), "", *_markdown_table(*figures(found.results))]
    if found.goals:
        lines += ["", *_markdown_table(*verdicts(found.results, found.goals))]
    return "\n".join([*lines, "", f"![{found.title}]({found.name}.png)", ""])


def notes(found: Found) -> Iterator[str]:
    """Yield what a reader must know of the figures."""
    rounds, seconds = found.settings["rounds"], found.settings["seconds"]
    yield (
        f"Medians of {rounds} alternating rounds of {seconds:g} s; ± is half the distance from "
        "the best to the worst.  Ratios are medians of ratios within a round."
    )
    before, *after = found.load
    yield f"Load before {before:.1f}" + "".join(f", after {it:.1f}" for it in after) + "."
    if found.is_busy:
        yield "**The machine was busy: these figures mean nothing.**"
    yield from found.notes


def figures(results: Results) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return head and rows of the table of medians: a line per job, a column per candidate."""
    names = list(results.candidates)
    head = ("JOB", *(name.upper() for name in names), "UNIT")
    rows = [
        (name, *(_cell(results.figures.get((name, candidate))) for candidate in names), job.unit)
        for name, job in results.jobs.items()
    ]
    return head, rows


def verdicts(
    results: Results, goals: Sequence[Goal]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return head and rows of the table of goals."""
    rows = []
    for goal in goals:
        ratios = results.ratios(goal)
        if not ratios:
            continue
        job = f": {goal.of_job}" if goal.of_job else ""
        found = f"{median(ratios):.2f} ±{spread(ratios):.0%}"
        verdict = "met" if goal.is_met_by(ratios) else "SHORT"
        compared = f"{goal.candidate} / {goal.of}{job}"
        rows.append((goal.job, compared, goal.wanted, found, verdict))
    return ("JOB", "COMPARED", "WANTED", "FOUND", "VERDICT"), rows


def _cell(rounds: Sequence[float] | None) -> str:
    return f"{number(median(rounds))} ±{spread(rounds):.0%}" if rounds else "-"


def number(value: float) -> str:
    """Write a figure with three digits or so."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _goal_body(results: Results, goal: Goal) -> dict[str, Any]:
    ratios = results.ratios(goal)
    found = median(ratios) if ratios else None
    return vars(goal) | {"found": found, "met": bool(ratios) and goal.is_met_by(ratios)}


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _size(words: str) -> int:
    try:
        return parse_size(words)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
