# SPDX-License-Identifier: MIT
"""Requests that pyfuse3 cannot read: a task that reads them beside it.

    transport's side pair -> decode -> an operation of `side_ops` -> reply, straight to the kernel

What the transport sends here is decided by a table in transport/relays.py.  All else goes to
libfuse, which answers ENOSYS to what it has no handler for; the kernel remembers that and does
not ask again (BMAP, POLL, and IOCTL: inodes here have no flags that chattr(1) could set).
"""

from __future__ import annotations

import errno
import logging
import socket
import time
from typing import TYPE_CHECKING, Final

import trio

from iomapd.abi.fuse_side import Request, reply
from iomapd.fuse.answers import count, errno_of

if TYPE_CHECKING:
    from iomapd.fuse.side_ops import SideOperations
    from iomapd.transport.transport import Transport

log = logging.getLogger(__name__)

_MESSAGE: Final = 64 << 10  # more than any of these is long


class Side:
    """Answers the requests of one mount's side pair.

    Args:
        operations: what can be asked.
        transport: where requests come from and replies go.
        requests: count and ns by name, shared with the handlers of pyfuse3.
    """

    def __init__(
        self, operations: SideOperations, transport: Transport, requests: dict[str, list[int]]
    ) -> None:
        self._operations = operations
        self._transport = transport
        self._requests = requests

    async def run(self) -> None:
        """Answer until cancelled, or until the pair is hung up; each request in its own task."""
        end = self._transport.side
        async with trio.open_nursery() as nursery:
            while True:
                await trio.lowlevel.wait_readable(end)
                try:
                    message = end.recv(_MESSAGE, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    continue
                if not message:
                    return
                nursery.start_soon(self._answer, Request.unpack(message))

    async def _answer(self, request: Request) -> None:
        name, operation = self._operations.table.get(request.opcode, ("unknown", None))
        started = time.perf_counter_ns()
        try:
            if operation is None:
                raise OSError(errno.ENOSYS, f"opcode {request.opcode}")
            answer = reply(request.unique, await operation(request))
        except Exception as exc:
            answer = reply(request.unique, error=errno_of(name, exc))
        count(self._requests, name, started)
        self._transport.reply(answer)
