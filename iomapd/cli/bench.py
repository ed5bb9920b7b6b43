# SPDX-License-Identifier: MIT
"""``iomapd bench``: large-I/O throughput of a mount beside what its members can give."""

from __future__ import annotations

import json as json_module
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iomapd.cli import console
from iomapd.errors import UsageError

if TYPE_CHECKING:
    from iomapd.tools.bench import BenchReport, PointResult


def bench(
    where: Annotated[
        Path,
        typer.Argument(
            parser=console.untouched,
            metavar="MOUNTPOINT|LAYOUT",
            help="A mounted volume, or one to mount.",
        ),
    ],
    rounds: Annotated[int, typer.Option(min=1, help="How often to measure everything.")] = 3,
    seconds: Annotated[
        float, typer.Option(min=0.05, help="Length of one measurement, in seconds.")
    ] = 0.25,
    size: Annotated[
        str, typer.Option(metavar="SIZE", help="Size of each scratch file.")
    ] = "256MiB",
    quick: Annotated[bool, typer.Option("--quick", help="O_DIRECT only.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-O", help="Write the JSON to this file as well.")
    ] = None,
    chart: Annotated[Path | None, typer.Option(help="Draw a chart into this PNG file.")] = None,
) -> None:
    """Measure large I/O beside what the members can give.

    1 MiB reads and writes on each member, on all together, and on the mount.

    Scratch files are made on the volume and beside the members and removed
    afterwards; members themselves are never written.  Takes about a minute and
    a half; --quick half of it.  Needs fio.
    """
    from iomapd.geometry.sizes import parse_size
    from iomapd.tools.bench import FULL, QUICK, Settings, run_bench
    from iomapd.tools.chart import draw_chart, require_matplotlib

    for option, path in (("--output", output), ("--chart", chart)):
        # A minute and a half of measuring is a long way to find that out.
        if path is not None and not path.absolute().parent.is_dir():
            raise UsageError(f"{option} {path}: No such directory")
    if chart is not None:
        require_matplotlib()
    settings = Settings(QUICK if quick else FULL, rounds, seconds, parse_size(size, "--size"))
    console.end_in_order()
    with console.progress_bar() as progress, _mounted(where) as mountpoint:
        report = run_bench(mountpoint, settings, progress)
    if output is not None:
        output.write_text(json_module.dumps(report.body(), indent=2) + "\n")
    if chart is not None:
        draw_chart(report, chart)
    if json:
        console.echo_json(report.body())
    else:
        console.echo(render(report))


def render(report: BenchReport) -> str:
    """Return the report as a table with its reading instructions."""
    head = ("ACCESS", "CACHE", "QD", "MEMBER", "CEILING", "MOUNT", "OF CEILING", "SPREAD")
    rows = [_row(report, result) for result in report.results]
    members = len(report.volume["members"])
    lines = [
        console.table(head, rows, left="ACCESS CACHE"),
        "",
        f"1 MiB requests, GiB/s, median of {report.settings.rounds}.  MEMBER: one alone, "
        f"slowest-fastest; CEILING: all {members} at once, each with this queue depth.",
        *(f"note: {note}" for note in report.notes),
    ]
    return "\n".join(lines)


def _row(report: BenchReport, result: PointResult) -> tuple[str, ...]:
    point = result.point
    order = "random" if point.pattern.startswith("rand") else "sequential"
    alone = [rate for name in report.members() if (rate := result.bandwidth(name)) is not None]
    ratio, spread = result.of_ceiling(), result.spread()
    return (
        f"{order} {'write' if point.is_write else 'read'}",
        "O_DIRECT" if point.direct else "buffered",
        str(point.depth),
        f"{_gib(min(alone))}-{_gib(max(alone))}" if alone else "-",
        _gib(result.bandwidth("ceiling")),
        _gib(result.bandwidth("mount")),
        "-" if ratio is None else f"{ratio:.0%}",
        "-" if spread is None else f"±{spread:.0%}",
    )


def _gib(rate: float | None) -> str:
    return "-" if rate is None else f"{rate / (1 << 30):.2f}"


@contextmanager
def _mounted(where: Path) -> Iterator[Path]:
    """Yield where the volume is mounted; if it is not, mount it for the length of the block."""
    from iomapd.abi.mountinfo import find_mount
    from iomapd.tools.info import mount_of
    from iomapd.tools.temporary import mounted_for_a_while

    if find_mount(where) is not None:
        yield where
    elif (entry := mount_of(where)) is not None:
        yield entry.mountpoint
    else:
        with mounted_for_a_while(where) as mountpoint:
            yield mountpoint
