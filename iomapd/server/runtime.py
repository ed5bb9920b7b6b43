# SPDX-License-Identifier: MIT
"""Where a running server can be found: one admin socket per mount, named by its device number.

    /run/iomapd/0-57.sock                root's mount whose files have st_dev 0:57
    $XDG_RUNTIME_DIR/iomapd/0-57.sock    an ordinary user's
    /tmp/iomapd-UID/0-57.sock            an ordinary user's without a session
    $IOMAPD_RUNTIME_DIR/0-57.sock        anybody's who sets it, for server and tools alike

The table of inodes in use of a mounted volume, which a killed server leaves to the next, lies
beside them in memory:

    /dev/shm/iomapd-UID/VOLUME.inodes    or in the directory above where that is none

The device number is what every file of a mount and ``/proc/self/mountinfo``
agree upon, so a tool finds the server from a mountpoint or from any file, and
never has to ask the mount itself.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from iomapd.errors import MountError

if TYPE_CHECKING:
    from uuid import UUID

    from iomapd.abi.mountinfo import MountEntry


def runtime_dir() -> Path:
    """Return the directory of this user's admin sockets, made when missing, mode 0700.

    Raises:
        MountError: it belongs to somebody else, is a link, is open to others,
            or cannot be made; in /tmp anybody may have been there first.
    """
    return _private(_candidates(os.geteuid())[0])


def _private(directory: Path) -> Path:
    uid = os.geteuid()
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        found = directory.lstat()
    except OSError as error:
        raise MountError(
            f"{directory}: cannot be made for what the server keeps: {error.strerror}"
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid:
        raise MountError(
            f"{directory}: must be a directory of user {uid}, is not: move it away, or set "
            "IOMAPD_RUNTIME_DIR to another"
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise MountError(f"{directory}: mode is {mode:04o}, must be 0700: chmod 0700 {directory}")
    return directory


def table_path(volume: UUID) -> Path:
    """Return where the inode table of *volume* lies; its directory is made when missing.

    Raises:
        MountError: as `runtime_dir`.
    """
    chosen = os.environ.get("IOMAPD_RUNTIME_DIR")
    shared = Path("/dev/shm")
    if chosen or not os.access(shared, os.W_OK):
        directory = runtime_dir()
    else:
        directory = _private(shared / f"iomapd-{os.geteuid()}")
    return directory / f"{volume}.inodes"


def socket_name(device: tuple[int, int]) -> str:
    """Return the file name of the admin socket of the mount with this (major, minor)."""
    major, minor = device
    return f"{major}-{minor}.sock"


def socket_of_mount(entry: MountEntry) -> Path:
    """Return the admin socket of a mount of anybody: its owner decides on the directory."""
    return socket_of_device(entry.device, owner_of(entry))


def socket_of_device(device: tuple[int, int], uid: int) -> Path:
    """Return the admin socket of the mount with this device number, served by user *uid*."""
    candidates = [directory / socket_name(device) for directory in _candidates(uid)]
    # os.path.exists() is False for what we may not look at; Path.exists() would raise.
    return next((path for path in candidates if os.path.exists(path)), candidates[0])  # noqa: PTH110


def owner_of(entry: MountEntry) -> int:
    """Return the uid that serves a FUSE mount; ourselves where the kernel does not say."""
    user_id = entry.super_option("user_id")
    return int(user_id) if user_id is not None and user_id.isdigit() else os.geteuid()


def _candidates(uid: int) -> list[Path]:
    """Return where user *uid*'s sockets may lie, most likely first; never empty."""
    if chosen := os.environ.get("IOMAPD_RUNTIME_DIR"):
        return [Path(chosen)]
    if uid == 0:
        return [Path("/run/iomapd")]
    # Only our own environment speaks of us; of another user we know the convention.
    session = os.environ.get("XDG_RUNTIME_DIR") if uid == os.geteuid() else f"/run/user/{uid}"
    fallback = Path(f"/tmp/iomapd-{uid}")
    if session and Path(session).is_absolute() and Path(session).is_dir():
        return [Path(session) / "iomapd", fallback]
    return [fallback]
