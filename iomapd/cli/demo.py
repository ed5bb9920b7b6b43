# SPDX-License-Identifier: MIT
"""``iomapd demo``: the whole life of a volume in a minute, with nothing left behind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iomapd.cli import console

if TYPE_CHECKING:
    from iomapd.tools.demo import Step


def demo(
    directory: Annotated[
        Path | None, typer.Option(help="Where to work; the system's temporary directory if absent.")
    ] = None,
    memory: Annotated[
        bool, typer.Option("--memory", help="Keep the members in memory (/dev/shm).")
    ] = False,
    members: Annotated[int, typer.Option(min=1, max=16, help="Number of members.")] = 4,
    unit: Annotated[str, typer.Option(metavar="SIZE", help="Stripe unit.")] = "64KiB",
) -> None:
    """Show the whole life of a volume in a minute.

    Makes four members, creates, mounts, verifies data, measures, unmounts.

    It works in a directory of its own, with three GiB of room, which is removed
    at the end, after an error or Ctrl-C too.  Root is not needed.
    """
    from iomapd.cli.bench import render
    from iomapd.geometry.sizes import format_size, parse_size
    from iomapd.tools.demo import MEMORY, DemoSettings, run_demo

    console.end_in_order()
    place = directory or (MEMORY if memory else None)
    settings = DemoSettings(nr_members=members, unit=parse_size(unit, "--unit"))
    if place is not None:
        settings = DemoSettings(place, members, unit=parse_size(unit, "--unit"))
    with console.progress_bar() as progress:
        report = run_demo(settings, _tell, progress)
    console.echo()
    console.echo(render(report.bench))
    console.echo()
    console.echo(f"{format_size(report.verified)} of data verified; everything is cleaned up.")


def _tell(step: Step) -> None:
    console.echo(f"$ {step.command}")
    console.echo(f"  {step.outcome}")
