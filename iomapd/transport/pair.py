# SPDX-License-Identifier: MIT
"""Socket pairs that keep messages whole, and how large a message they carry."""

from __future__ import annotations

import contextlib
import socket
from typing import Final

# Not in Python's socket module; <asm-generic/socket.h>.
_SO_SNDBUFFORCE: Final = 32

# sock_alloc_send_pskb() refuses what is longer than the send buffer less this.
_RESERVED: Final = 32


def open_pair(send_buffer: int) -> tuple[socket.socket, socket.socket]:
    """Make a connected pair of blocking SOCK_SEQPACKET sockets.

    Args:
        send_buffer: bytes each end may have under way.  Without privilege the kernel gives
            no more than net.core.wmem_max.
    """
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        try:
            end.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, send_buffer)
        except PermissionError:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    return ends


def message_capacity(end: socket.socket) -> int:
    """Return the largest message, bytes, that can be sent on *end*."""
    return end.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) - _RESERVED


def hang_up(end: socket.socket) -> None:
    """End the conversation: whoever waits on either end wakes up.  What was sent still arrives."""
    with contextlib.suppress(OSError):  # the other end is closed already
        end.shutdown(socket.SHUT_RDWR)
