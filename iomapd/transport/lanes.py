# SPDX-License-Identifier: MIT
"""The threads of a mount's data plane: their memory, their pipes, their start and end.

    lane 0..n-1     read /dev/fuse; each has its own request buffers and its own block
    resume 0..m-1   read verdicts; finish what was parked

The control plane reads what is missing from `posted`, 48 bytes a record, publishes it, and
writes 16 bytes to `answers`: the request's index and SERVE or FORWARD.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, Final

from iomapd.dataplane import plane as planes
from iomapd.dataplane.request import POST_SIZE
from iomapd.dataplane.serve import serve
from iomapd.jit import Unit, load_unit
from iomapd.jit.unit import is_kept
from iomapd.native.memory import load64, store64
from iomapd.native.region import Region
from iomapd.transport import block as fields
from iomapd.transport.lane import lane, read_cycles, resume
from iomapd.transport.wake import may_wake, wake_and_join

if TYPE_CHECKING:
    from collections.abc import Callable

    from iomapd.dataplane.plane import Plane

log = logging.getLogger(__name__)

LANE: Final = lane.__name__
RESUME: Final = resume.__name__

_ENTRIES: Final = (lane, resume, serve, read_cycles)

# A pipe holds this much at least; a post must never wait, or be lost, for want of room.
_PIPE_SIZE: Final = 65536


def compile_lanes() -> Unit:
    """Compile the lanes, or load them; takes many seconds once per machine and version.

    Raises:
        CompileError: numba cannot compile here.
    """
    return load_unit("lanes", _ENTRIES)


def are_compiled() -> bool:
    """Tell whether `compile_lanes` would only load them."""
    return is_kept("lanes", _ENTRIES)


class Lanes:
    """The lanes of one mount.

    Args:
        plane: their memory, filled in but for DEV and MISSES; kept as long as they run.
        unit: compiled lanes; by default `load` brings them.

    Attributes:
        plane: as given.
        posted: descriptor from which the control plane reads what is missing; non-blocking.
        answers: descriptor to which it writes its verdicts.
    """

    def __init__(self, plane: Plane, unit: Unit | None = None) -> None:
        if plane.nr_requests * POST_SIZE > _PIPE_SIZE:
            raise ValueError(f"{plane.nr_requests} requests are more than a pipe can name")
        self.plane = plane
        self._unit = unit
        self._threads: list[threading.Thread] = []
        self._blocks = [Region(fields.OWN_SIZE) for _ in range(plane.nr_threads)]
        for block in self._blocks:
            fields.prepare(block.addr)
        self.posted, self._posts = os.pipe2(os.O_CLOEXEC)
        self._verdicts, self.answers = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.posted, False)
        os.set_blocking(self._posts, False)

    def load(self) -> Unit:
        """Compile the lanes, or load them, unless they are there.

        Raises:
            CompileError: numba cannot compile here.
        """
        if self._unit is None:
            self._unit = compile_lanes()
        return self._unit

    def start(self, dev: int, pair: int, relays: int, on_end: Callable[[str, int], None]) -> None:
        """Start all threads.

        Args:
            dev: /dev/fuse after INIT, blocking.
            pair: our end of the socket pair, blocking.
            relays: address of the relays' block, see block.py.
            on_end: called with LANE or RESUME and a status when a thread ends, from there.

        Raises:
            RuntimeError: nothing could end a lane again, see `wake.allow_waking`.
        """
        if not may_wake():
            raise RuntimeError("lanes need allow_waking() in the main thread first")
        plane = self.plane
        plane.use_clock(self.load().function(read_cycles.__name__))
        plane.set(planes.DEV, dev)
        plane.set(planes.MISSES, self._posts)
        for thread, block in enumerate(self._blocks):
            stats = plane.statistics_block(thread)
            if thread < plane.nr_lanes:
                first = plane.request(thread * plane.requests_per_lane)
                own: tuple[int, ...] = (first, plane.requests_per_lane, stats)
                name = LANE
            else:
                own = (plane.requests, plane.nr_requests, self._verdicts, stats)
                name = RESUME
            store64(block.addr + fields.SIDE, load64(relays + fields.SIDE))
            arguments = (plane.addr, pair, block.addr, relays + fields.PENDING, *own)
            self._start_thread(name, arguments, on_end)

    def _start_thread(
        self, name: str, arguments: tuple[int, ...], on_end: Callable[[str, int], None]
    ) -> None:
        function = self.load().function(name)

        def run() -> None:
            status = function(*arguments)
            log.debug("%s ended with status %d", name, status)
            on_end(name, status)

        thread = threading.Thread(target=run, name=f"iomapd-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def counter(self, offset: int) -> int:
        """Return a counter of block.py over all threads; of an errno, the largest."""
        values = [load64(block.addr + offset) for block in self._blocks]
        return max(values) if offset == fields.IN_ERRNO else sum(values)

    def stop(self) -> None:
        """End and join all threads; the pair is hung up, /dev/fuse still open.

        Requests under way are finished; parked ones stay in the pending table, and what the
        control plane still answers is for nobody.
        """
        self.plane.set(planes.STOP, 1)
        for thread in self._threads:
            wake_and_join(thread)
        self._threads.clear()

    def close(self) -> None:
        """Close the pipes; neither a thread nor the control plane uses them any more."""
        for fd in (self.posted, self._posts, self._verdicts, self.answers):
            if fd >= 0:
                os.close(fd)
        self.posted = self._posts = self._verdicts = self.answers = -1
