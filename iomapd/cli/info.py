# SPDX-License-Identifier: MIT
"""``iomapd info``: a volume, its members, its space, and who serves it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from iomapd.cli import console
from iomapd.cli.stats_view import describe_lanes
from iomapd.geometry.sizes import format_size


def info(
    where: Annotated[
        Path,
        typer.Argument(
            parser=console.untouched,
            metavar="LAYOUT|MEMBER|MOUNTPOINT",
            help="A volume, by any of its names.",
        ),
    ],
    json: Annotated[bool, typer.Option("--json", help="Print JSON; sizes in bytes.")] = False,
) -> None:
    """Show a volume, its members, its space and its server."""
    from iomapd.tools.info import volume_info

    body = volume_info(where)
    if json:
        console.echo_json(body)
    else:
        console.echo("\n".join(_render(body)))


def _render(body: dict[str, Any]) -> Iterator[str]:
    volume, space, members = body["volume"], body["space"], body["members"]
    program = volume["program"]
    yield f"volume   {volume['name']}  {volume['uuid']}  generation {volume['generation']}"
    if body["mounted"]:
        yield f"mounted  {body['mountpoint']}, served by pid {body['pid']}, mapper {body['mapper']}"
    else:
        yield "mounted  no"
    yield (
        f"layout   unit {format_size(volume['unit'])} over {len(members)} "
        f"member{'s' * (len(members) > 1)}, "
        f"program {program['name']} (sha256 {program['sha256'][:12]})"
    )
    held = f", {format_size(space['held'])} held until durable" if space.get("held") else ""
    yield (
        f"space    {format_size(space['size'])} in all, {format_size(space['used'])} used, "
        f"{format_size(space['free'])} free{held}"
    )
    yield ""
    head = ("#", "ID", "SIZE", "USED", "KIND", "ACCESS", "STATUS", "PATH")
    yield console.table(head, [_row(m) for m in members], left="KIND ACCESS STATUS PATH")
    if body["mounted"]:
        yield ""
        yield from _accesses(members)
        yield f"lanes    {describe_lanes(body['data_plane'])}"
        yield f"cache    {body['cache']['mode']}: {body['cache']['means']}"
    for warning in body["warnings"]:
        yield f"warning: {warning}"


def _accesses(members: list[dict[str, Any]]) -> Iterator[str]:
    """Yield why members are accessed as they are, a line for each way and reason."""
    alike: dict[tuple[str, str], list[str]] = {}
    for member in members:
        key = member["io_mode"], member.get("io_reason", "")
        alike.setdefault(key, []).append(str(member["index"]))
    for (mode, reason), indexes in alike.items():
        yield f"access   {mode} ({', '.join(indexes)}): {reason}"


def _row(member: dict[str, Any]) -> tuple[object, ...]:
    sizes = format_size(member["size"]), format_size(member["used"])
    words = (member[key] for key in ("kind", "io_mode", "status", "path"))
    return member["index"], member["id"], *sizes, *words
