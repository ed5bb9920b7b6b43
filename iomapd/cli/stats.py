# SPDX-License-Identifier: MIT
"""``iomapd stats``: the counters of a running server, once or as rates."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from iomapd.cli import console


def stats(
    mountpoint: Annotated[
        Path,
        typer.Argument(
            parser=console.untouched, metavar="MOUNTPOINT", help="Where the volume is mounted."
        ),
    ],
    watch: Annotated[
        float | None,
        typer.Option(min=0.1, metavar="SECONDS", help="Show changes per second, again and again."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what the server of a volume has done so far."""
    from iomapd.tools.admin import request

    counters, asked = request(mountpoint, "stats"), time.monotonic()
    _show(counters, {}, 0, json)
    with suppress(KeyboardInterrupt):  # the usual way to end a watch
        while watch is not None:
            time.sleep(watch)
            before, since = counters, asked
            counters, asked = request(mountpoint, "stats"), time.monotonic()
            _show(counters, before, asked - since, json)


def _show(counters: dict[str, Any], before: dict[str, Any], elapsed: float, json: bool) -> None:
    if json:
        console.echo_json({"schema": "iomapd.stats", "version": 1, **counters})
    else:
        about = ("schema", "version")
        now = {key: value for key, value in flatten(counters) if key not in about}
        console.echo(_render(now, dict(flatten(before)), elapsed))


def flatten(counters: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield ``("cache.hits", 7)`` for ``{"cache": {"hits": 7}}``; list items go by their index."""
    for key, value in counters.items():
        if isinstance(value, list):
            value = {str(index): item for index, item in enumerate(value)}
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _render(now: dict[str, Any], before: dict[str, Any], elapsed: float) -> str:
    """Return a table of values, with their change per second when there is a *before*."""
    if not before:
        return console.table(("COUNTER", "VALUE"), list(now.items()), left="COUNTER")
    rows = [
        (name, value, f"{(value - before[name]) / elapsed:.1f}")
        for name, value in now.items()
        if isinstance(value, int | float) and isinstance(before.get(name), int | float)
    ]
    return "\n" + console.table(("COUNTER", "VALUE", "PER SECOND"), rows, left="COUNTER")
