# SPDX-License-Identifier: MIT
"""``iomapd migrate``: rewrite files into the layout of their directory."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iomapd.cli import console
from iomapd.geometry.sizes import format_size, parse_size

if TYPE_CHECKING:
    from iomapd.tools.migrate import Migrated


def migrate(
    files: Annotated[
        list[Path],
        typer.Argument(parser=console.untouched, metavar="FILE", help="Files on a mounted volume."),
    ],
    step: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="How much to move at a time; 256MiB by default."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Rewrite files into the layout of their directory.

    The bytes of the file move, under a file that stays as it is and may be in
    use: whoever reads or writes waits for one step at most.  It may be stopped
    at any time and started again; what has moved stays moved.
    """
    from iomapd.tools.migrate import migrate_file

    size = None if step is None else parse_size(step, "--step")
    done = []
    with console.progress_bar() as progress:
        for file in files:
            done.append(migrate_file(file, size, progress))
            if not json:
                console.echo(_render(done[-1]))
    if json:
        console.echo_json(
            {"schema": "iomapd.migrate", "version": 1, "files": [asdict(file) for file in done]}
        )


def _render(file: Migrated) -> str:
    width = f"{file.layout['width']} members" if file.layout["width"] else "all members"
    what = (
        f"{format_size(file.moved)} moved, {format_size(file.copied)} of them written"
        if file.moved
        else "nothing to move"
    )
    return (
        f"{file.path}: {what}; unit {format_size(file.layout['unit'])} over {width}, "
        f"program {file.layout['program']}"
    )
