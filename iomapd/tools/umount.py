# SPDX-License-Identifier: MIT
"""Unmount a volume and wait for its server, which is when the promise of umount is kept.

``umount(2)`` returns before a FUSE server has committed its last durability
point.  The server's pid is taken from the admin socket (``SO_PEERCRED``, so a
server that no longer answers has one too) before the mount goes, and its end
is awaited on a pidfd afterwards.
"""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from iomapd.errors import MountError
from iomapd.server.runtime import owner_of
from iomapd.tools.admin import connect, is_ours, peer_of, require_mount
from iomapd.transport.connection import Connection, mount_control
from iomapd.transport.mount import unmount

if TYPE_CHECKING:
    from iomapd.abi.mountinfo import MountEntry
    from iomapd.tools.progress import Progress

_LOOK_AGAIN_SECONDS: Final = 0.25  # how often a waiting user sees that time passes
_KILL_SECONDS: Final = 5.0
_USERS_NAMED: Final = 3


def unmount_volume(
    mountpoint: Path, *, lazy: bool, force: bool, timeout: float, progress: Progress
) -> None:
    """Unmount *mountpoint*; unless *lazy*, return when its server has ended.

    Args:
        mountpoint: where the volume is mounted.
        lazy: detach at once; the server ends when the last user has closed.
        force: abort the FUSE connection first; requests in flight fail with
            ECONNABORTED, what was not yet durable may be lost.
        timeout: how long to wait for the server, seconds; with *force* it is
            killed when that is over.
        progress: told that we wait: (what, seconds so far, 0).

    Raises:
        MountError: nothing of ours is mounted there, somebody uses it, or the
            server did not end in time.
    """
    entry = require_mount(mountpoint)
    if not is_ours(entry):
        raise MountError(f"{mountpoint}: is {entry.fstype}, not an iomapd volume")
    if os.geteuid() not in (0, owner_of(entry)):
        raise MountError(
            f"{mountpoint}: is served by user {owner_of(entry)}, who alone may unmount it"
        )
    server = _open_server(entry)
    try:
        if force:
            _abort(entry, server)
        _detach(entry, lazy=lazy or force)
        if server is not None and not lazy and not _has_ended(server, timeout, progress):
            _give_up(server, entry, timeout, force=force)
    finally:
        if server is not None:
            os.close(server)


def users_of(entry: MountEntry) -> list[str]:
    """Return "name (pid)" of processes that work in or hold files of a mount, as far as visible.

    Only links under /proc are read, so a stuck mount cannot hold us up.
    """
    users = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _holds(process, str(entry.mountpoint)):
            with suppress(OSError):
                users.append(f"{(process / 'comm').read_text().strip()} ({process.name})")
    return users


def _open_server(entry: MountEntry) -> int | None:
    """Return a pidfd of the server of *entry*, or None when nobody listens any more."""
    try:
        with connect(entry, timeout=1.0) as channel:
            # Opened while the socket lives: the pid cannot be somebody else's yet.
            return os.pidfd_open(peer_of(channel).pid)
    except (MountError, OSError):
        return None


def _abort(entry: MountEntry, server: int | None) -> None:
    """End the connection of *entry*; a server that stays its only holder is ended with it."""
    mount_control()
    if not Connection(entry.device[1]).abort() and server is not None:
        # No control file system for us: closing the last /dev/fuse ends a connection too.
        signal.pidfd_send_signal(server, signal.SIGKILL)


def _detach(entry: MountEntry, *, lazy: bool) -> None:
    try:
        unmount(entry.mountpoint, lazy=lazy)
    except MountError as error:
        users = users_of(entry)
        if not users:
            raise
        more = f" and {len(users) - _USERS_NAMED} more" if len(users) > _USERS_NAMED else ""
        raise MountError(
            f"{entry.mountpoint}: is in use by {', '.join(users[:_USERS_NAMED])}{more}; "
            f"end them, or: iomapd umount --lazy {entry.mountpoint}"
        ) from error


def _has_ended(server: int, timeout: float, progress: Progress) -> bool:
    """Wait for the server's end and tell whether it came within *timeout* seconds."""
    # A pidfd turns readable when its process ends (pidfd_open(2)).
    poll = select.poll()
    poll.register(server, select.POLLIN)
    start = time.monotonic()
    while not poll.poll(_LOOK_AGAIN_SECONDS * 1000):
        waited = time.monotonic() - start
        if waited > timeout:
            return False
        progress("waiting for the server to commit", int(waited), 0)
    return True


def _give_up(server: int, entry: MountEntry, timeout: float, *, force: bool) -> None:
    """Kill a server that did not end, if that was asked for; else say that it goes on."""
    if not force:
        if elsewhere := _mounted_elsewhere(entry):
            raise MountError(
                f"{entry.mountpoint}: is unmounted here, but not in the mount namespace of "
                f"{elsewhere}; its server ends when that does"
            )
        raise MountError(
            f"{entry.mountpoint}: is unmounted, but its server still commits after "
            f"{timeout:g} s; its members are free when it has ended"
        )
    signal.pidfd_send_signal(server, signal.SIGKILL)
    if not _has_ended(server, _KILL_SECONDS, lambda *told: None):
        raise MountError(
            f"{entry.mountpoint}: is unmounted, but its server waits in the kernel for a member; "
            "the members are free when that answers"
        )


def _mounted_elsewhere(entry: MountEntry) -> str:
    """Return "name (pid)" of a process whose mount namespace still has the mount, or "".

    A container or a service with private mounts copies every mount when it starts.
    """
    major, minor = entry.device
    wanted = f" {major}:{minor} ".encode()
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):
                if wanted in (process / "mountinfo").read_bytes():
                    return f"{(process / 'comm').read_text().strip()} ({process.name})"
    return ""


def _holds(process: Path, mountpoint: str) -> bool:
    with suppress(OSError):
        links = [process / "root", *(process / "fd").iterdir()]
        # Who types "iomapd umount ." has this process work there too, and need not end it.
        if process.name != str(os.getpid()):
            links.append(process / "cwd")
        for link in links:
            with suppress(OSError):
                target = str(link.readlink())
                if target == mountpoint or target.startswith(f"{mountpoint}/"):
                    return True
    return False
