# SPDX-License-Identifier: MIT
"""A mountpoint whose server is dead is cleared by the next mount on it.

A killed server leaves its mount in the tree, and every call into it ends with ENOTCONN.
Only a mount of ours that is certainly dead is taken away:

  - its admin socket has nobody who answers.  Somebody who listens and keeps silent is
    stuck, not dead: the mount is left alone, and not touched.
  - statfs(2), which the kernel never answers by itself, says that the connection is gone.
    A server that is dying just now still has it open; then this waits for its end.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from typing import TYPE_CHECKING, Final

from iomapd.abi.mountinfo import find_mount
from iomapd.server.runtime import socket_of_mount
from iomapd.transport.mount import unmount

if TYPE_CHECKING:
    from pathlib import Path

    from iomapd.abi.mountinfo import MountEntry

log = logging.getLogger(__name__)

FSTYPE: Final = "fuse.iomapd"
ANSWER_S: Final = 5.0
_GONE: Final = (errno.ENOTCONN, errno.ECONNABORTED)


def clear_stale(mountpoint: Path) -> None:
    """Unmount what dead servers of ours have left on *mountpoint*; leave all else alone.

    Raises:
        MountError: a dead mount cannot be taken away.
    """
    while (entry := find_mount(mountpoint)) and entry.fstype == FSTYPE and is_dead(entry):
        log.info("%s: clearing the mount of a server that has died", entry.mountpoint)
        unmount(entry.mountpoint, lazy=True)


def is_dead(entry: MountEntry) -> bool:
    """Tell whether the server of a mount of ours is gone for certain."""
    if _has_server(socket_of_mount(entry)):
        return False
    try:
        os.statvfs(entry.mountpoint)
    except OSError as exc:
        return exc.errno in _GONE
    return False


def _has_server(path: Path) -> bool:
    """Tell whether somebody behind an admin socket answers, or may be stuck."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(ANSWER_S)
        try:
            client.connect(os.fspath(path))
            client.sendall(b'{"op": "info"}\n')
            return bool(client.recv(1))
        except (FileNotFoundError, ConnectionError):
            return False
        except OSError:
            return True  # silence, or a socket that is not ours to ask
