# SPDX-License-Identifier: MIT
"""``iomapd create``: make a volume, from a layout file or straight from its members."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iomapd.cli import console
from iomapd.errors import LayoutFileError, UsageError
from iomapd.geometry.sizes import format_size, parse_size

if TYPE_CHECKING:
    from iomapd.tools.create import CreateReport
    from iomapd.volume.layout_file import LayoutFile


def create(
    what: Annotated[
        list[Path],
        typer.Argument(
            parser=console.untouched,
            metavar="LAYOUT.toml | MEMBER",
            help="A layout file; or, with --unit, the files and block devices to stripe over.",
        ),
    ],
    unit: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Stripe unit; members follow, the layout is written."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the volume and of its layout file.", show_default="volume"),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Size of the image files that are to be made."),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Overwrite file systems and other volumes on the members."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Look, report, and write nothing.")
    ] = False,
) -> None:
    """Make a volume.

    iomapd create LAYOUT.toml

    iomapd create --unit 64KiB [--name NAME] [--size 4GiB] MEMBER...

    The second form writes NAME.toml in the current directory.  Members that
    carry a file system, a partition table or another volume are refused;
    an interrupted create may simply be repeated.
    """
    from iomapd.tools.create import create_volume

    layout, text = _layout(what, unit, name, size, force)
    with console.progress_bar() as report:
        made = create_volume(
            layout, force=force, dry_run=dry_run, layout_text=text, progress=report
        )
    console.echo("\n".join(_render(made)))


def _layout(
    what: list[Path], unit: str | None, name: str | None, size: str | None, force: bool
) -> tuple[LayoutFile, str | None]:
    """Return the layout, and its text if this command is to write it."""
    from iomapd.volume.layout_file import MemberSpec, load_layout, parse_layout, render_layout

    if unit is None:
        given = [option for option, value in (("--name", name), ("--size", size)) if value]
        if given:
            raise UsageError(f"{given[0]} goes with --unit and members, not with a layout file")
        if len(what) != 1:
            raise UsageError(f"{len(what)} arguments: one layout file, or --unit SIZE MEMBER...")
        return load_layout(what[0]), None
    parse_size(unit, "--unit")
    image_size = None if size is None else parse_size(size, "--size")
    path = Path(f"{name or 'volume'}.toml")
    members = [MemberSpec(p, _size_of(p, image_size)) for p in what]
    text = render_layout(name=name or "volume", unit=unit, members=members)
    layout = parse_layout(text, path)
    if path.exists() and not force and path.read_bytes() != text.encode():
        raise LayoutFileError(f"{path}: is there already and says something else; --name another")
    return layout, text


def _size_of(path: Path, image_size: int | None) -> int | None:
    """Return what the layout file says of a member's size: nothing if it has one of its own.

    An image that an interrupted create left keeps its size, so that the repeated
    command writes the same layout file.
    """
    if path.exists() and (path.is_block_device() or path.stat().st_size not in (0, image_size)):
        return None
    return image_size


def _render(made: CreateReport) -> list[str]:
    lines = [f"volume   {made.name}  {made.uuid}"]
    lines.append(f"layout   {made.layout}, unit {format_size(made.unit)}, program {made.program}")
    lines.append(f"store    {made.store}")
    count = len(made.members)
    lines.append(f"space    {format_size(made.capacity)} in {count} member{'s' * (count > 1)}")
    lines.append("")
    rows = [
        (m.index, format_size(m.size), "made" if m.is_made else "there", m.path)
        for m in made.members
    ]
    lines.append(console.table(("#", "SIZE", "FILE", "PATH"), rows, left="FILE PATH"))
    for member in made.members:
        lines.extend(f"overwritten: {data} on {member.path}" for data in member.overwritten)
    if made.repeated:
        lines.append("The remains of an interrupted create were found and replaced.")
    if made.dry_run:
        lines.append("Nothing was written: --dry-run.")
    else:
        lines.append(f"Next: iomapd mount {made.layout} MOUNTPOINT")
    return lines
