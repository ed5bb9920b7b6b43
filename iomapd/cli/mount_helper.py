# SPDX-License-Identifier: MIT
"""``mount.fuse.iomapd``: what mount(8) runs for the type ``fuse.iomapd``, from fstab too.

    mount.fuse.iomapd SPEC DIR [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]

The order, the letters and the exit status are mount(8)'s, "External helpers":
1 for a wrong invocation, 32 when the mount failed.
"""

from __future__ import annotations

import getopt
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from iomapd.cli.mount_options import parse_options
from iomapd.errors import IomapdError, UsageError

EXIT_USAGE: Final = 1
EXIT_FAILED: Final = 32

USAGE: Final = "usage: mount.fuse.iomapd LAYOUT|MEMBER MOUNTPOINT [-sfnv] [-o OPTIONS]"


def main(arguments: Sequence[str]) -> int:
    """Mount as mount(8) asks; return its exit status."""
    try:
        return _mount(arguments)
    except (getopt.GetoptError, UsageError) as error:
        return _say(f"{error}", EXIT_USAGE)
    except IomapdError as error:
        return _say(f"{error}", EXIT_FAILED)
    except OSError as error:
        return _say(f"{error.filename or 'system'}: {error.strerror}", EXIT_FAILED)


def run() -> None:
    """Entry point of the ``mount.fuse.iomapd`` program."""
    sys.exit(main(sys.argv[1:]))


def _mount(arguments: Sequence[str]) -> int:
    given, places = getopt.gnu_getopt(list(arguments), "sfnvo:t:N:")
    flags = {letter for letter, _ in given}
    if len(places) != 2:
        raise UsageError(USAGE)
    if "-N" in flags:
        raise UsageError("-N: mounting in another namespace is not supported; use nsenter(1)")
    sloppy = "-s" in flags
    options = parse_options((text for letter, text in given if letter == "-o"), sloppy=sloppy)
    if "-v" in flags:
        print(f"mount.fuse.iomapd: {places[0]} on {places[1]} with {options}", file=sys.stderr)
    if "-f" in flags:  # "fake": everything but the mount itself
        return 0
    # At boot, systemd's generator and mount -a run helpers with an empty environment.
    os.environ.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    from iomapd.server.launch import launch

    launch(Path(places[0]), Path(places[1]), options)
    return 0


def _say(message: str, status: int) -> int:
    print(f"mount.fuse.iomapd: {message}", file=sys.stderr)
    return status
