# SPDX-License-Identifier: MIT
"""Charts: bars for jobs side by side, lines for sweeps; iomapd in colour, others in grey."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.report import Found, number
from iomapd.geometry.sizes import format_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# iomapd's own in the hues of Okabe and Ito, which everybody tells apart; what it is compared
# with in greys, each with its own mark.
COLOURS = {
    **{"lanes": "#0072b2", "python": "#e69f00", "loops": "#56b4e9"},
    **{"raw": "#24292f", "mergerfs": "#8c959f", "bindfs": "#afb8c1", "btrfs": "#6e7781"},
    **{"program": "#0072b2", "record": "#009e73", "cache": "#cc79a7", "upcall": "#d55e00"},
    **{"shift": "#24292f", "call": "#8c959f", "bpf": "#e69f00"},
}
MARKS = {"raw": "s", "mergerfs": "^", "bindfs": "v", "btrfs": "D", "cache": "d", "record": "x"}
_COLUMNS = 2


def draw_bars(found: Found, path: Path) -> None:
    """Draw a panel per job: a bar per candidate, whiskers from worst to best round."""
    results = found.results
    figure, panels = _grid(found, len(results.jobs), 0.5 + 0.27 * len(results.candidates))
    for axes, (name, job) in zip(panels, results.jobs.items(), strict=False):
        rows = [
            (words.words, words.name, rounds)
            for words in reversed(results.candidates.values())
            if (rounds := results.figures.get((name, words.name)))
        ]
        middle = [median(rounds) for *_, rounds in rows]
        reach = [
            [at - min(rounds) for at, (*_, rounds) in zip(middle, rows, strict=True)],
            [max(rounds) - at for at, (*_, rounds) in zip(middle, rows, strict=True)],
        ]
        colours = [COLOURS.get(candidate, "#8c959f") for _, candidate, _ in rows]
        bars = axes.barh(range(len(rows)), middle, xerr=reach, color=colours, height=0.7)
        labels = [f"  {number(value)}" for value in middle]
        axes.bar_label(bars, labels=labels, fontsize=7)
        axes.set_yticks(range(len(rows)), [words for words, *_ in rows], fontsize=7)
        axes.set_title(f"{name}, {job.unit}", fontsize=9, loc="left")
        axes.margins(x=0.15)
        _plain(axes, "x")
    figure.savefig(path, dpi=150)


def draw_lines(
    found: Found, path: Path, x_label: str, tick: Callable[[int], str] = format_size
) -> None:
    """Draw a panel per panel of the jobs: a line per candidate, a band from worst to best."""
    from matplotlib.ticker import LogLocator

    results = found.results
    panels = {
        panel: list(jobs) for panel, jobs in groupby(results.jobs.values(), lambda job: job.panel)
    }
    figure, grid = _grid(found, len(panels), 3.6)
    for axes, (panel, jobs) in zip(grid, panels.items(), strict=False):
        for name, candidate in results.candidates.items():
            points = [
                (job.x, rounds) for job in jobs if (rounds := results.figures.get((job.name, name)))
            ]
            if not points:
                continue
            places = [x for x, _ in points]
            style = {"color": COLOURS.get(name), "marker": MARKS.get(name, "o"), "markersize": 4}
            axes.plot(places, [median(r) for _, r in points], label=candidate.words, **style)
            low, high = [min(r) for _, r in points], [max(r) for _, r in points]
            axes.fill_between(places, low, high, color=style["color"], alpha=0.15, linewidth=0)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks([job.x for job in jobs], [tick(job.x) for job in jobs], fontsize=7)
        axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        axes.yaxis.set_minor_formatter(lambda value, _: f"{value:,g}")
        axes.set_xlabel(x_label, fontsize=8)
        axes.set_title(f"{panel}, {jobs[0].unit}", fontsize=9, loc="left")
        _plain(axes, "y")
    lines = {
        label: line
        for axes in grid
        for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        lines.values(), lines, loc="outside lower center", ncols=5, fontsize=8, frameon=False
    )
    figure.savefig(path, dpi=150)


def _grid(found: Found, count: int, height: float) -> tuple[Any, list[Axes]]:
    """Return a figure and its panels, in two columns; those that are too many are blank."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = -(-count // _COLUMNS)
    figure = Figure(figsize=(10, 0.9 + rows * height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{found.title}\n{found.on}", fontsize=9)
    panels = list(figure.subplots(rows, _COLUMNS, squeeze=False).flat)
    for axes in panels[count:]:
        axes.set_axis_off()
    return figure, panels


def _plain(axes: Axes, grid: str) -> None:
    axes.grid(visible=True, axis=grid, alpha=0.25)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", labelsize=7)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
