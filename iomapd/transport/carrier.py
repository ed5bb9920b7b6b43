# SPDX-License-Identifier: MIT
"""The relays of one mount at work: compiled loops, their threads, their memory and their end."""

from __future__ import annotations

import errno
import logging
import os
import threading
from typing import TYPE_CHECKING, Final

from iomapd.abi.fuse import (
    BUFFER_HEADER_SIZE,
    IN_HEADER_SIZE,
    IN_OPCODE,
    IN_UNIQUE,
    MIN_READ_BUFFER,
    OUT_HEADER_STRUCT,
)
from iomapd.jit import Unit, load_unit
from iomapd.native.memory import load32, load64, store64
from iomapd.native.region import Region
from iomapd.native.syscalls import read
from iomapd.transport import block as fields
from iomapd.transport.pair import hang_up, message_capacity, open_pair
from iomapd.transport.pending import outstanding, settle
from iomapd.transport.relays import EIO, notifier, refuse, relay_in, relay_out, wants_reply

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from iomapd.transport.lanes import Lanes

log = logging.getLogger(__name__)

# The largest request this protocol can carry through libfuse, and room for names beside it.
_BUFFER: Final = (1 << 20) + BUFFER_HEADER_SIZE + MIN_READ_BUFFER
_JOIN_INTERVAL: Final = 0.01  # s
_SIDE_BUFFER: Final = 256 << 10  # bytes of small requests that may wait for the server

RELAY_IN: Final = relay_in.__name__
RELAY_OUT: Final = relay_out.__name__
NOTIFIER: Final = notifier.__name__


def compile_relays() -> Unit:
    """Compile the relays, or load them; takes seconds once per machine and version.

    Raises:
        CompileError: numba cannot compile here.
    """
    return load_unit("relays", [relay_in, relay_out, notifier])


class Carrier:
    """Carries messages between /dev/fuse and one end of a socket pair, in three threads.

    Args:
        unit: the compiled relays.
        pair: our end, blocking; stays the caller's.
        send_buffer: bytes of notifications that may wait.
        lanes: take the place of relay_in; None: it carries everything.

    Attributes:
        side: where the server receives what pyfuse3 cannot read; it answers by `reply`.
    """

    def __init__(
        self, unit: Unit, pair: socket.socket, send_buffer: int, lanes: Lanes | None = None
    ) -> None:
        self._unit = unit
        self._pair = pair
        self._lanes = lanes
        self._queue_in, self._queue_out = open_pair(send_buffer)
        self._block = Region(fields.BLOCK_SIZE)
        fields.prepare(self._block.addr)
        self._side, self.side = open_pair(_SIDE_BUFFER)
        store64(self._block.addr + fields.SIDE, self._side.fileno())
        self._buffers = {name: Region(_BUFFER) for name in (RELAY_IN, RELAY_OUT, NOTIFIER)}
        self._threads: dict[str, threading.Thread] = {}
        self._dev = -1

    @property
    def capacity(self) -> int:
        """Largest message, bytes, that the pair and the relays' buffers carry."""
        return min(message_capacity(self._pair), _BUFFER)

    def start(self, dev: int, on_end: Callable[[str, int], None]) -> None:
        """Start carrying.

        Args:
            dev: /dev/fuse after INIT, O_NONBLOCK; stays the caller's.
            on_end: called with the name of each relay, lane or resumer and its status when it
                ends, from its thread.

        Raises:
            RuntimeError: there are lanes, and nothing could end them, see `Lanes.start`.
        """
        self._dev = dev
        pair, block = self._pair.fileno(), self._block.addr
        descriptors = {
            # Replies first: a request must not meet a server that cannot answer.
            RELAY_OUT: (dev, pair, self._queue_in.fileno()),
            NOTIFIER: (dev, self._queue_out.fileno()),
            RELAY_IN: (dev, pair),
        }
        if self._lanes is not None:
            del descriptors[RELAY_IN]
        for name, fds in descriptors.items():
            arguments = (*fds, block, self._buffers[name].addr, _BUFFER)
            self._threads[name] = threading.Thread(
                target=self._run, args=(name, arguments, on_end), name=f"iomapd-{name}", daemon=True
            )
            self._threads[name].start()
        if self._lanes is not None:
            # They wait in read(2) itself, which saves a call for every request.
            os.set_blocking(dev, True)
            self._lanes.start(dev, pair, block, on_end)

    def _run(
        self, name: str, arguments: tuple[int, ...], on_end: Callable[[str, int], None]
    ) -> None:
        status = self._unit.function(name)(*arguments)
        log.debug("%s ended with status %d", name, status)
        on_end(name, status)

    def reply(self, message: bytes) -> None:
        """Write the answer to a request from `side` to the kernel; waits for nobody."""
        _, _, unique = OUT_HEADER_STRUCT.unpack_from(message)
        settle(self._block.addr + fields.PENDING, unique)
        self._tell(message)

    def notify(self, message: bytes) -> None:
        """Give the kernel a notification and wait until it has obeyed; blocks.

        It may wait for pages whose READ or WRITE the server must answer meanwhile: never call
        this from the thread that does.
        """
        self._tell(message)

    def _tell(self, message: bytes) -> None:
        try:
            os.write(self._dev, message)
        except OSError as error:
            # Interrupted or aborted, or an inode that the kernel has forgotten.
            if error.errno not in (errno.ENOENT, errno.ENODEV, errno.ENOTCONN):
                log.warning("the kernel did not take a message: %s", error.strerror)

    def counter(self, offset: int) -> int:
        """Return the counter at *offset* of block.py; also after the end."""
        own = load64(self._block.addr + offset)
        return own or (self._lanes.counter(offset) if self._lanes is not None else 0)

    def stop(self) -> None:
        """End all loops, whatever they wait for, and join their threads.

        Replies that the server has sent are still delivered; requests that nobody will
        answer any more fail with EIO.  Must not be called from `on_end`.
        """
        hang_up(self._pair)
        hang_up(self._side)
        if self._lanes is not None and self._threads:
            self._lanes.stop()
            os.set_blocking(self._dev, False)
        for name in (RELAY_IN, RELAY_OUT):
            if thread := self._threads.get(name):
                thread.join()
        hang_up(self._queue_in)
        if thread := self._threads.get(NOTIFIER):
            # It may wait in the kernel for a page whose READ only we can still answer.
            while thread.is_alive():
                self._refuse_everything()
                thread.join(_JOIN_INTERVAL)
            self._refuse_everything()
        self._threads.clear()
        self._side.close()
        self.side.close()
        self._queue_in.close()
        self._queue_out.close()

    def _refuse_everything(self) -> None:
        """Fail all requests that the server holds, and all that nobody has read yet."""
        block, buffer = self._block.addr, self._buffers[RELAY_IN].addr
        for unique in outstanding(block + fields.PENDING):
            refuse(self._dev, block, unique, EIO)
        while read(self._dev, buffer, _BUFFER) >= IN_HEADER_SIZE:
            if wants_reply(load32(buffer + IN_OPCODE)):
                refuse(self._dev, block, load64(buffer + IN_UNIQUE), EIO)
