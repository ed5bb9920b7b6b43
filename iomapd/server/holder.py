# SPDX-License-Identifier: MIT
"""Is the process that holds a volume still serving it, or just finishing?

A server removes its admin socket before its last durability point.  So a holder
whose socket answers is in use, and a mount is refused at once; one without is
worth waiting for.
"""

from __future__ import annotations

import re
import socket
import struct
from typing import TYPE_CHECKING

from iomapd.server.runtime import runtime_dir

if TYPE_CHECKING:
    from pathlib import Path

_UCRED = struct.Struct("3i")  # struct ucred: pid, uid, gid; unix(7)


def is_serving(message: str) -> bool:
    """Tell whether the holder that a "busy" message names has a live admin socket."""
    named = re.search(r"process (\d+)", message)
    return named is not None and any(
        _peer_of(path) == int(named[1]) for path in runtime_dir().glob("*.sock")
    )


def _peer_of(path: Path) -> int:
    """Return the pid that listens on *path*, or 0."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1.0)
        try:
            client.connect(str(path))
            ucred = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        except OSError:
            return 0
    pid, _, _ = _UCRED.unpack(ucred)
    return int(pid)
