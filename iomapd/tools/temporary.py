# SPDX-License-Identifier: MIT
"""Mounts that last as long as a block: unmounted whatever happens inside."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
def mounted(
    source: Path,
    mountpoint: Path,
    *,
    log: Path,
    options: dict[str, str | None] | None = None,
    lanes: int | None = None,
) -> Iterator[MountReport]:
    """Mount *source* on *mountpoint* for the length of the block; the server logs to *log*.

    *options* and *lanes* are those of ``iomapd mount``.

    After a failure inside the block, a mount that cannot be ended in order is
    cut off: leaving it behind would be worse than losing what is on it.

    Raises:
        MountError: it could not be mounted, or not unmounted.
    """
    try:
        yield launch(source, mountpoint, options or {}, lanes=lanes, log=log)
    except BaseException:
        if find_mount(mountpoint) is not None:
            _end(mountpoint)
        raise
    _unmount(mountpoint)


@contextmanager
def mounted_for_a_while(source: Path) -> Iterator[Path]:
    """Mount *source* on a directory of its own for the length of the block; yield that."""
    with tempfile.TemporaryDirectory(prefix="iomapd-", ignore_cleanup_errors=True) as directory:
        mountpoint = Path(directory) / "mnt"
        mountpoint.mkdir()
        with mounted(source, mountpoint, log=Path(directory) / "server.log"):
            yield mountpoint


def _end(mountpoint: Path) -> None:
    """Unmount in order if that is possible, by force if not; the caller has an error to report."""
    try:
        _unmount(mountpoint)
    except MountError:
        with suppress(MountError):
            _unmount(mountpoint, force=True)


def _unmount(mountpoint: Path, *, force: bool = False) -> None:
    unmount_volume(
        mountpoint,
        lazy=False,
        force=force,
        timeout=UNMOUNT_SECONDS,
        progress=lambda what, done, total: None,
    )
