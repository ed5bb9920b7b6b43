# SPDX-License-Identifier: MIT
"""``iomapd stats``: what a running server has done, once or again and again."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from iomapd.cli import console
from iomapd.cli.stats_view import difference, render


def stats(
    mountpoint: Annotated[
        Path,
        typer.Argument(
            parser=console.untouched, metavar="MOUNTPOINT", help="Where the volume is mounted."
        ),
    ],
    watch: Annotated[
        float | None,
        typer.Option(min=0.1, metavar="SECONDS", help="Show what happens, again and again."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what the server of a volume has done so far.

    Requests served in lanes and in Python, how long they took, why lanes left
    some to Python, and the I/O of each member.
    """
    from iomapd.tools.admin import request

    counters = request(mountpoint, "stats")
    _show(counters, 0.0, json)
    with suppress(KeyboardInterrupt):  # the usual way to end a watch
        while watch is not None:
            time.sleep(watch)
            before, counters = counters, request(mountpoint, "stats")
            elapsed = (counters["uptime_ns"] - before["uptime_ns"]) / 1e9
            _show(counters if json else difference(counters, before), elapsed, json)


def _show(counters: dict[str, Any], elapsed: float, json: bool) -> None:
    if json:
        console.echo_json(counters)
        return
    if elapsed and sys.stdout.isatty():
        console.clear()  # one picture that moves
    elif elapsed:
        console.echo()
    console.echo("\n".join(render(counters, elapsed)))
