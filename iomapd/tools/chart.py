# SPDX-License-Identifier: MIT
"""A bench report as a PNG: one group of bars per point, the ceiling behind the mount."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from iomapd.errors import UsageError
from iomapd.geometry.sizes import format_size
from iomapd.tools.bench import describe_point

if TYPE_CHECKING:
    from iomapd.tools.bench import BenchReport

GIB: Final = float(1 << 30)


def require_matplotlib() -> None:
    """Check before anything is measured that a chart can be drawn.

    Raises:
        UsageError: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401  asked for, not used yet
    except ImportError as error:
        raise UsageError(
            "--chart: matplotlib is not installed: pip install 'iomapd[charts]'"
        ) from error


def draw_chart(report: BenchReport, path: Path) -> None:
    """Write the chart of *report* to *path*; the suffix decides on the format."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    results = report.results[::-1]  # barh draws from the bottom
    labels = [describe_point(result.point) for result in results]
    ceiling = [(result.bandwidth("ceiling") or 0) / GIB for result in results]
    mount = [(result.bandwidth("mount") or 0) / GIB for result in results]
    figure = Figure(figsize=(9, 1.5 + 0.42 * len(results)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    rows = range(len(results))
    axes.barh(rows, ceiling, height=0.8, color="#d0d7de", label="all members together")
    bars = axes.barh(rows, mount, height=0.5, color="#1f6feb", label="mount")
    ratios = [result.of_ceiling() for result in results]
    words = [f"{ratio:.0%}" if ratio is not None else "" for ratio in ratios]
    axes.bar_label(bars, labels=words, padding=3, fontsize=8)
    axes.set_yticks(rows, labels, fontsize=8)
    axes.set_xlabel("GiB/s")
    axes.set_title(_title(report), fontsize=10)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    figure.savefig(path, format="png", dpi=150)


def _title(report: BenchReport) -> str:
    members, unit = report.volume["members"], report.volume["unit"]
    machine = f"{report.machine['cpus']} CPUs, Linux {report.machine['kernel']}"
    return f"{len(members)} members, unit {format_size(unit)}, {machine}"
