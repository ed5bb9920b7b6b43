# SPDX-License-Identifier: MIT
"""One mount, from mount(2) to the last closed descriptor.

    start()    compile, socket pair, mount, threads
    ready      INIT is done; until here whoever touches the mountpoint waits
    on_end     the kernel side is gone, or the transport gave up
    stop()     threads joined, descriptors closed

The server reads requests from `Transport.server_path` and never sees /dev/fuse.
"""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from iomapd.abi.mountinfo import find_mount
from iomapd.errors import MountError
from iomapd.transport import block as fields
from iomapd.transport.carrier import NOTIFIER, RELAY_IN, RELAY_OUT, Carrier, compile_relays
from iomapd.transport.connection import Connection, mount_control
from iomapd.transport.handshake import HandshakeEnded, Limits, Wishes, shake_hands
from iomapd.transport.mount import MountOptions, check_mountpoint, mount, unmount
from iomapd.transport.pair import hang_up, open_pair
from iomapd.transport.relays import FAILED, KERNEL_GONE, SERVER_GONE

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from iomapd.transport.lanes import Lanes

log = logging.getLogger(__name__)

UNMOUNTED: Final = "unmounted"
ABORTED: Final = "the connection was aborted"
_SEND_BUFFER: Final = 8 << 20
_DEFAULT_WISHES: Final = Wishes()
_ERRNO_OF: Final = {
    RELAY_IN: fields.IN_ERRNO,
    RELAY_OUT: fields.OUT_ERRNO,
    NOTIFIER: fields.NOTIFIER_ERRNO,
}  # lanes and resumers: IN_ERRNO


@dataclass(frozen=True, slots=True)
class TransportStatistics:
    """Messages since the mount; each counter is read without a lock.

    Attributes:
        requests: forwarded to the server.
        replies: written to the kernel.
        interrupted: replies that came after the kernel had given the request up.
        refused: requests answered with an error because the pair could not carry them.
        read_errors: requests that the kernel could not hand over.
        write_errors: replies that the kernel did not take.
        malformed: messages of the server that are no replies.
        opens_edited: OPEN and CREATE replies that allow parallel direct writes.
        notifications_queued: taken from the server.
        notifications_dropped: not taken, the queue was full.
        notifications_sent: done by the kernel.
        notifications_unknown: the kernel did not know the inode or name.
        notifications_failed: refused by the kernel for another reason.
    """

    requests: int
    replies: int
    interrupted: int
    refused: int
    read_errors: int
    write_errors: int
    malformed: int
    opens_edited: int
    notifications_queued: int
    notifications_dropped: int
    notifications_sent: int
    notifications_unknown: int
    notifications_failed: int


class Transport:
    """Owns /dev/fuse of one mount and carries its messages to and from the server.

    Args:
        mountpoint: an empty directory.
        options: how to mount.
        on_end: called once, from a thread, with a reason: `UNMOUNTED`, `ABORTED`, or a
            sentence when the transport gave up and `stop` should follow.  Not called after
            `stop`; must not call `stop` itself.
        wishes: request size, background requests, read-ahead.
        send_buffer: bytes that may be under way in each direction.
        lanes: serve READ and WRITE; None: the server gets every request.  They stay the
            caller's, to be closed after `stop`.

    Attributes:
        ready: set when INIT is done and requests flow.
        mountpoint: absolute path without links, after `start`.
        connection: number of the FUSE connection, after `start`.
        limits: what INIT agreed on, once ready.
    """

    def __init__(
        self,
        mountpoint: Path,
        options: MountOptions,
        on_end: Callable[[str], None],
        *,
        wishes: Wishes = _DEFAULT_WISHES,
        send_buffer: int = _SEND_BUFFER,
        lanes: Lanes | None = None,
    ) -> None:
        self.ready = threading.Event()
        self.mountpoint = mountpoint
        self.connection = -1
        self.limits: Limits | None = None
        self._options = options
        self._on_end = on_end
        self._wishes = wishes
        self._send_buffer = send_buffer
        self._lanes = lanes
        self._carrier: Carrier | None = None
        self._handshake: threading.Thread | None = None
        self._dev = -1
        self._server_fd = -1
        self._kernel_gone = False
        self._stopping = False
        self._stopped = False
        self._end_lock = threading.Lock()
        self._ended = False

    def start(self) -> None:
        """Compile what is needed, mount, and wait in a thread for the server to answer INIT.

        Raises:
            MountError: the mountpoint is unfit or mounting was refused; nothing is left.
            CompileError: the relays cannot be compiled on this machine.
        """
        # First: whoever touches the mount waits for us from the moment it is there.
        unit = compile_relays()
        if self._lanes is not None:
            self._lanes.load()
        mount_control()
        self.mountpoint = check_mountpoint(self.mountpoint, nonempty=self._options.nonempty)
        self._pair, self._server = open_pair(self._send_buffer)
        self._carrier = Carrier(unit, self._pair, self._send_buffer, self._lanes)
        try:
            self._mount()
        except BaseException:
            self.stop()
            raise
        self._handshake = threading.Thread(
            target=self._shake_hands, name="iomapd-handshake", daemon=True
        )
        self._handshake.start()

    def _mount(self) -> None:
        self._dev = mount(self.mountpoint, self._options)
        os.set_blocking(self._dev, False)
        entry = find_mount(self.mountpoint)
        if entry is None:
            unmount(self.mountpoint, lazy=True)
            raise MountError(f"{self.mountpoint}: mounted, but not in /proc/self/mountinfo")
        self.connection = entry.device[1]

    @property
    def server_path(self) -> str:
        """What pyfuse3.init() takes as its mountpoint; valid after `start`.

        Reading it hands the descriptor over: libfuse closes it in pyfuse3.close().
        """
        if self._server.fileno() >= 0:
            self._server_fd = self._server.detach()
        return f"/dev/fd/{self._server_fd}"

    @property
    def side(self) -> socket.socket:
        """Where the server receives what pyfuse3 cannot read; valid from `start` to `stop`."""
        assert self._carrier is not None
        return self._carrier.side

    def agreed(self, capability: int) -> bool:
        """Tell whether INIT agreed on *capability*, INIT_* of abi/fuse.py; not before `ready`."""
        return self.limits is not None and bool(self.limits.flags & capability)

    def reply(self, message: bytes) -> None:
        """Answer a request that came through `side`; waits for nobody."""
        assert self._carrier is not None
        self._carrier.reply(message)

    def notify(self, message: bytes) -> None:
        """Give the kernel a notification and wait until it has obeyed; see `Carrier.notify`."""
        assert self._carrier is not None
        self._carrier.notify(message)

    def _shake_hands(self) -> None:
        assert self._carrier is not None
        try:
            self.limits = shake_hands(self._dev, self._pair, self._wishes, self._carrier.capacity)
        except HandshakeEnded as ended:
            self._relay_ended(RELAY_OUT, ended.status)
        except (MountError, OSError, ValueError) as error:
            self._give_up(str(error))
        else:
            self._carrier.start(self._dev, self._relay_ended)
            self.ready.set()

    def _relay_ended(self, name: str, status: int) -> None:
        if status == KERNEL_GONE:
            # Every lane sees it; one tells.
            with self._end_lock:
                told, self._kernel_gone = self._kernel_gone, True
            if not told:
                self._end(self._kernel_reason())
        elif status == SERVER_GONE:
            # relay_out sees every hang-up; the others need not say it again.  After the kernel's
            # end it is the server's turn to leave.
            if name == RELAY_OUT and not self._stopping and not self._kernel_gone:
                self._give_up("the server closed its end")
        else:
            assert self._carrier is not None
            number = self._carrier.counter(_ERRNO_OF.get(name, fields.IN_ERRNO))
            self._give_up(f"{name}: {os.strerror(number) if status == FAILED else 'crashed'}")

    def _kernel_reason(self) -> str:
        """Tell an unmount from an abort; after an abort, take the dead mount away."""
        if self._is_mounted():
            self._detach()
            return ABORTED
        return UNMOUNTED

    def _give_up(self, reason: str) -> None:
        """End the mount so that nobody waits for it, then say so."""
        log.error("%s: %s", self.mountpoint, reason)
        # Abort first: an unmount writes dirty pages back and would wait for us.  Without an abort
        # file the mount stays until `stop` closes the connection.
        if self.abort():
            self._detach()
        self._end(reason)

    def _detach(self) -> None:
        try:
            self.unmount(lazy=True)
        except MountError as error:
            log.warning("lazy unmount: %s", error)

    def _end(self, reason: str) -> None:
        with self._end_lock:
            told, self._ended = self._ended or self._stopping, True
        if not told:
            self._on_end(reason)

    def tune(self) -> list[str]:
        """Set read-ahead and background requests in sysfs, after `ready`.

        Returns:
            A line for each setting that could not be made; ordinary users cannot make all.
        """
        if self.limits is None:
            return ["not tuned: INIT is not done"]
        return Connection(self.connection).tune(
            self._wishes.read_ahead, self.limits.max_background, self.limits.congestion_threshold
        )

    def unmount(self, *, lazy: bool = False) -> None:
        """Unmount, unless somebody has done so already.

        Raises:
            MountError: it is busy (EBUSY), or not ours to unmount.
        """
        if self._is_mounted():
            unmount(self.mountpoint, lazy=lazy)

    def _is_mounted(self) -> bool:
        entry = find_mount(self.mountpoint)
        return entry is not None and entry.device[1] == self.connection

    def abort(self) -> bool:
        """End the connection by its abort file; every waiter wakes with an error.

        Returns:
            False when the connection is gone already or has no abort file for us.
        """
        # The number of a connection that is gone may belong to somebody else's by now.
        if self.connection < 0 or self._kernel_gone:
            return False
        return Connection(self.connection).abort()

    def statistics(self) -> TransportStatistics:
        """Return the counters; all zero before `start`, and final after `stop`."""
        names = TransportStatistics.__dataclass_fields__
        read = self._carrier.counter if self._carrier else lambda _: 0
        return TransportStatistics(*[read(getattr(fields, name.upper())) for name in names])

    def stop_lanes(self) -> None:
        """Join the lanes, after the server has left: from here on no member I/O is under way.

        The pair is hung up first, since a lane may sleep in a send into it.
        """
        self._stopping = True
        hang_up(self._pair)
        if self._lanes is not None:
            self._lanes.stop()

    def stop(self) -> None:
        """Join the threads, close everything, and take away the mount if it is still there.

        To end a mount in peace call `unmount` first: here, requests that nobody will answer
        fail with EIO.  Safe to call twice, and at any moment after `start` began.
        """
        self._stopping = True
        if self._stopped or self._carrier is None:
            return
        self._stopped = True
        hang_up(self._pair)
        if self._handshake is not None:
            self._handshake.join()
        self._carrier.stop()
        self._pair.close()
        if self._server.fileno() >= 0:
            self._server.close()
        if self._dev >= 0:
            # The last descriptor: the kernel ends the connection, so the unmount cannot wait.
            os.close(self._dev)
            self._detach()
