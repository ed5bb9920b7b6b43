# SPDX-License-Identifier: MIT
"""``iomapd layout``: the striping that new files of a directory get."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from iomapd.cli import console
from iomapd.cli.parameters import ParamOption, params_of
from iomapd.errors import UsageError
from iomapd.geometry.sizes import format_size

app = typer.Typer(
    help="Show or change how new files of a directory are striped.", rich_markup_mode=None
)


def _path(what: str) -> Any:
    return typer.Argument(
        parser=console.untouched, metavar="PATH", help=f"{what} on a mounted volume."
    )


@app.command("get")
def get_layout(
    path: Annotated[Path, _path("A directory or file")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the layout of a directory or file."""
    from iomapd.tools.layout import layout_of

    body = layout_of(path)
    if json:
        console.echo_json({"schema": "iomapd.layout", "version": 1, **body})
    else:
        console.echo(_render(path, body))


@app.command("set")
def set_layout(
    path: Annotated[Path, _path("A directory or an empty file")],
    unit: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Stripe unit, a multiple of 4KiB.")
    ] = None,
    width: Annotated[
        int | None, typer.Option(min=0, help="Members per row; 0 means all of them.")
    ] = None,
    program: Annotated[str | None, typer.Option(help="Mapping program.")] = None,
    param: ParamOption = None,
) -> None:
    """Change the layout that new files get.

    Files and directories that are made in the directory from now on get the
    new layout.  What is already there keeps the layout it was made with; its
    bytes do not move.
    """
    from iomapd.tools.layout import change_layout

    params = params_of(param)
    if unit is None and width is None and program is None and not params:
        raise UsageError(
            "layout set: nothing to change; give --unit, --width, --program or --param"
        )
    body = change_layout(path, unit=unit, width=width, program=program, params=params)
    console.echo(_render(path, body))
    if path.is_dir():
        console.note("New files here get this layout; those already here keep theirs.")


def _render(path: Path, body: dict[str, Any]) -> str:
    count = body["width"]
    width = f"{count} member{'s' * (count > 1)}" if count else "all members"
    params = "".join(f", {name}={value}" for name, value in (body.get("params") or {}).items())
    whence = " (inherited)" if body.get("inherited") else ""
    return (
        f"{path}: unit {format_size(body['unit'])} over {width}, "
        f"program {body['program']}{params}{whence}"
    )
