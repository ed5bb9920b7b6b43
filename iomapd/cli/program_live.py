# SPDX-License-Identifier: MIT
"""``iomapd program attach`` and ``replace``: the programs of a mounted volume."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iomapd.cli import console

MountArgument = Annotated[
    Path,
    typer.Argument(
        parser=console.untouched, metavar="MOUNTPOINT", help="Where the volume is mounted."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def attach(
    mountpoint: MountArgument,
    program: Annotated[
        str, typer.Argument(metavar="PROGRAM", help="The name of a shipped program, or a .py file.")
    ],
    json: JsonOption = False,
) -> None:
    """Make a program known to a mounted volume.

    It is examined and stored, and changes nothing: layouts can name it from
    now on, with: iomapd layout set DIR --program NAME.
    """
    from iomapd.tools.program_live import attach_program

    found = attach_program(mountpoint, program)
    if json:
        console.echo_json({"schema": "iomapd.program.attach", "version": 1, **found})
        return
    params = "".join(f" --param {name}=..." for name in found["params"])
    console.echo(f"{found['name']}@{found['sha256'][:12]} is known to the volume")
    console.note(f"Use it with: iomapd layout set DIR --program {found['name']}{params}")


def replace(
    mountpoint: MountArgument,
    old: Annotated[
        str,
        typer.Argument(metavar="OLD", help="A program of the volume: NAME, or NAME@DIGEST."),
    ],
    new: Annotated[
        str,
        typer.Argument(
            metavar="NEW", help="A .py file, a shipped program, or one of the volume like OLD."
        ),
    ],
    json: JsonOption = False,
) -> None:
    """Put a program in the place of another that maps alike, without unmounting.

    NEW is admitted, and compared with OLD block by block, for every extent
    that there is and for those that may come.  What lies elsewhere under NEW
    refuses it, with the first position; then nothing has changed.  No byte
    moves in either case.
    """
    from iomapd.tools.program_live import replace_program

    with console.progress_bar() as progress:
        found = replace_program(mountpoint, old, new, progress)
    if json:
        console.echo_json({"schema": "iomapd.program.replace", "version": 1, **found})
        return
    old, new = (f"{found[k]['name']}@{found[k]['sha256'][:12]}" for k in ("old", "new"))
    console.echo(
        f"{new} has taken the place of {old}: {found['total']} geometries of extents map alike, "
        f"{found['blocks']} blocks compared"
    )
    renamed = found["old"]["name"] != found["new"]["name"]
    if renamed and found["volume_program"] == found["new"]["name"]:
        console.note(f'Say so in the layout file, too: program = "{found["new"]["name"]}"')
