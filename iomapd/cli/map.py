# SPDX-License-Identifier: MIT
"""``iomapd map``: where the bytes of a file are, piece by piece."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from iomapd.cli import console
from iomapd.geometry.sizes import format_size


def map_file(
    file: Annotated[
        Path,
        typer.Argument(
            parser=console.untouched, metavar="FILE", help="A file on a mounted volume."
        ),
    ],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show where the bytes of a file are.

    One line per contiguous piece: position in the file, length, type, member,
    absolute byte address in the member.  Reading the members at these
    addresses gives the file.  The file is made durable first.
    """
    from iomapd.tools.map import map_of_file

    body = map_of_file(file)
    if json:
        console.echo_json(body)
    else:
        console.echo(_render(file, body))


def _render(file: Path, body: dict[str, Any]) -> str:
    extents = body["extents"]
    members = {extent["member"] for extent in extents if extent["type"] != "hole"}
    headline = (
        f"{file}: {format_size(body['size'])} in {len(extents)} "
        f"{'piece' if len(extents) == 1 else 'pieces'} on {len(members)} "
        f"{'member' if len(members) == 1 else 'members'}{_placed_by(extents)}"
    )
    head = ("OFFSET", "LENGTH", "TYPE", "MEMBER", "ADDRESS", "PATH")
    rows = [_row(extent) for extent in extents]
    return f"{headline}\n{console.table(head, rows, left='TYPE PATH')}" if rows else headline


def _placed_by(extents: list[dict[str, Any]]) -> str:
    """Name the programs that placed the pieces; pieces of single strips were placed by none."""
    programs = {(e["program"], e["sha256"][:12]) for e in extents if e.get("program")}
    named = ", ".join(f"{name} ({digest})" for name, digest in sorted(programs))
    return f", by {named}" if named else ""


def _row(extent: dict[str, Any]) -> tuple[object, ...]:
    # A hole has no place; what is not there is shown as nothing, not as zero.
    places = [extent.get(key) for key in ("member", "address", "path")]
    member, address, path = ("-" if place is None else place for place in places)
    return extent["offset"], extent["length"], extent["type"], member, address, path
