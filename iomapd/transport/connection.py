# SPDX-License-Identifier: MIT
"""The kernel's side of a mount: its control files, read-ahead, and the abort that always works."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path
from typing import Final

_CONNECTIONS: Final = Path("/sys/fs/fuse/connections")
_BDI: Final = Path("/sys/class/bdi")

_libc = ctypes.CDLL(None, use_errno=True)


def mount_control() -> bool:
    """Make sure that the FUSE control file system is mounted, as root; tell whether it is.

    Distributions mount it at boot; minimal systems and containers do not, and then a mount
    that hangs has no abort file.
    """
    if os.geteuid() == 0 and not _CONNECTIONS.is_mount():
        target = os.fsencode(_CONNECTIONS)
        _libc.mount(b"fusectl", target, b"fusectl", ctypes.c_ulong(0), None)
    with contextlib.suppress(OSError):
        return _CONNECTIONS.is_mount()
    return False


class Connection:
    """Control files of FUSE connection *number* (the minor of the mount's device)."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.directory = _CONNECTIONS / str(number)
        self.bdi = _BDI / f"0:{number}"

    def abort(self) -> bool:
        """End the connection: every request fails, every waiter wakes.

        Returns:
            Whether the kernel took it; False when it is gone already, or when the control
            file system is not there for us.
        """
        try:
            (self.directory / "abort").write_text("1")
        except OSError:
            return False
        return True

    def tune(self, read_ahead: int, max_background: int, congestion_threshold: int) -> list[str]:
        """Set what INIT cannot, or cannot for everyone.

        Args:
            read_ahead: bytes that buffered reading runs ahead.
            max_background: asynchronous requests at a time.
            congestion_threshold: of those, how many make the kernel hold back.

        Returns:
            A line for each setting that could not be made.
        """
        wanted = {
            self.bdi / "read_ahead_kb": read_ahead // 1024,
            self.directory / "max_background": max_background,
            self.directory / "congestion_threshold": congestion_threshold,
        }
        refused = []
        for path, value in wanted.items():
            try:
                if int(path.read_text()) != value:
                    path.write_text(str(value))
            except OSError as error:
                refused.append(f"{path} is not set to {value}: {error.strerror}")
        return refused
