# SPDX-License-Identifier: MIT
"""Mounts that last as long as a block: unmounted whatever happens inside."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from iomapd.abi.mountinfo import find_mount
from iomapd.errors import MountError
from iomapd.server.launch import launch
from iomapd.tools.umount import unmount_volume

if TYPE_CHECKING:
    from iomapd.server.launch import MountReport

UNMOUNT_SECONDS = 60.0


@contextmanager
def mounted(source: Path, mountpoint: Path, *, log: Path) -> Iterator[MountReport]:
    """Mount *source* on *mountpoint* for the length of the block; the server logs to *log*.

    A server that does not let go in `UNMOUNT_SECONDS` is cut off: a demo that
    leaves a stuck mount behind would be worse than one that loses its data.
    """
    try:
        yield launch(source, mountpoint, {}, log=log)
    finally:
        if find_mount(mountpoint) is not None:
            _unmount(mountpoint)


@contextmanager
def mounted_for_a_while(source: Path) -> Iterator[Path]:
    """Mount *source* on a directory of its own for the length of the block; yield that."""
    with tempfile.TemporaryDirectory(prefix="iomapd-", ignore_cleanup_errors=True) as directory:
        mountpoint = Path(directory) / "mnt"
        mountpoint.mkdir()
        with mounted(source, mountpoint, log=Path(directory) / "server.log"):
            yield mountpoint


def _unmount(mountpoint: Path) -> None:
    def silently(what: str, done: int, total: int) -> None:
        """Nobody watches."""

    try:
        unmount_volume(
            mountpoint, lazy=False, force=False, timeout=UNMOUNT_SECONDS, progress=silently
        )
    except MountError:
        if find_mount(mountpoint) is None:
            raise  # unmounted, but the server did not end in time: nothing to cut off
        unmount_volume(
            mountpoint, lazy=True, force=True, timeout=UNMOUNT_SECONDS, progress=silently
        )
        raise
