# SPDX-License-Identifier: MIT
"""``iomapd mount``: start the server of a volume; returns when the mount answers."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer

from iomapd.cli import console
from iomapd.cli.mount_options import parse_options


def mount(
    source: Annotated[
        Path,
        typer.Argument(
            parser=console.untouched, metavar="LAYOUT|MEMBER", help="Layout file or member."
        ),
    ],
    mountpoint: Annotated[
        Path,
        typer.Argument(parser=console.untouched, metavar="MOUNTPOINT", help="An empty directory."),
    ],
    options: Annotated[
        list[str] | None,
        typer.Option("-o", "--options", metavar="KEY[=VALUE],...", help="Mount options."),
    ] = None,
    foreground: Annotated[
        bool, typer.Option("--foreground", "-f", help="Return after the unmount; log to stderr.")
    ] = False,
    lanes: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Compiled lanes that serve reads and writes; 0: none. Default: what pays here.",
            show_default=False,
        ),
    ] = None,
    log: Annotated[Path | None, typer.Option(help="Write the server's log to this file.")] = None,
) -> None:
    """Mount a volume.

    The volume is named by its layout file or by any of its members.  The
    command returns when the mount answers; the server then runs by itself
    until the volume is unmounted.

    Options (-o): fsname=NAME, subtype=TYPE, mapper=NAME, io=MODE, cache=NAME,
    ro, allow_other, default_permissions, noatime, nosuid, nodev, noexec, sync;
    the generic ones of mount(8) are understood.
    """
    from iomapd.server.launch import launch

    parsed = parse_options(options or [])
    if foreground:
        with _unmounted_on_interrupt(mountpoint):
            launch(source, mountpoint, parsed, foreground=True, lanes=lanes, log=log)
        return
    with console.progress_bar() as report:
        launch(
            *(source, mountpoint, parsed),
            lanes=lanes,
            log=log,
            progress=lambda text: report(text, 0, 0),
        )


@contextmanager
def _unmounted_on_interrupt(mountpoint: Path) -> Iterator[None]:
    """Take Ctrl-C and SIGTERM for "unmount"; open files keep their server until they are closed.

    Who is told to end by SIGTERM, as services are, ends well: status 0.
    """
    from iomapd.errors import MountError
    from iomapd.tools.umount import unmount_volume

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        # On Ctrl-C the server, in the same process group, unmounts by itself as well.
        with suppress(MountError):
            unmount_volume(
                mountpoint, lazy=True, force=False, timeout=0, progress=lambda *told: None
            )
        raise
