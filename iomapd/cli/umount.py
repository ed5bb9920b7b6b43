# SPDX-License-Identifier: MIT
"""``iomapd umount``: unmount and wait until all is committed and the server is gone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iomapd.cli import console


def umount(
    mountpoint: Annotated[
        Path,
        typer.Argument(
            parser=console.untouched, metavar="MOUNTPOINT", help="Where the volume is mounted."
        ),
    ],
    lazy: Annotated[
        bool,
        typer.Option("--lazy", "-l", help="Detach now, end when the last user has closed."),
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Cut it off, kill the server after the timeout: for one that is stuck."
        ),
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="How long to wait for the server to end."),
    ] = 120,
) -> None:
    """Unmount a volume.

    Returns when everything is on the members and the server has ended, so the
    members may be pulled or mounted again at once.  With --lazy it returns
    when the mount is detached.
    """
    from iomapd.tools.umount import unmount_volume

    with console.progress_bar() as report:
        unmount_volume(mountpoint, lazy=lazy, force=force, timeout=timeout, progress=report)
