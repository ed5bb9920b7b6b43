# SPDX-License-Identifier: MIT
"""Opening what a user names, whatever it is."""

from __future__ import annotations

import os


def without_waiting(path: str, flags: int) -> int:
    """Open *path* as an ``opener`` of open(): of a FIFO that nobody writes to comes nothing.

    open(2) would wait for a writer, who may never come (`man 7 fifo`); a pipe with one is read
    to its end.

    Raises:
        OSError: it cannot be opened.
    """
    fd = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    os.set_blocking(fd, True)
    return fd
