# SPDX-License-Identifier: MIT
"""The data plane of one mount: how many lanes, what they know, and how it says so.

Members in memory keep no lane waiting: a lane per CPU is what pays.  Members that may wait for a
device get more, four per member, so that a queue forms where it helps; and one beyond what
serves, since some lane is always outside member I/O.
"""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from iomapd.cache.board import SlotBoard
from iomapd.control.misses import Misses
from iomapd.control.slowpath import FILE_END as LAST_END
from iomapd.dataplane.batch import RUNS_MAX
from iomapd.dataplane.plane import (
    BY_CACHE,
    BY_PROGRAM,
    BY_UPCALL,
    CAN_BLOCK,
    COPIES,
    DIRECT,
    ENTRIES,
    FILE_END,
    FLAGS,
    KERNEL_TIMES,
    NO_ATIME,
    NR_BUCKETS,
    READ_ONLY,
    SLOTS,
    STRATEGY,
    Plane,
)
from iomapd.dataplane.statistics import SERVED_WRITTEN_BYTES
from iomapd.jit.sources import CompileError
from iomapd.native.syscalls import compiled_here
from iomapd.transport.lanes import Lanes, are_compiled
from iomapd.transport.wake import allow_waking

if TYPE_CHECKING:
    from collections.abc import Callable

    from iomapd.control.mount import ControlPlane
    from iomapd.server.access import Access

log = logging.getLogger(__name__)

LANES_PER_DEVICE: Final = 4
_AUTO_MAX: Final = 32
_REQUESTS: Final = 64  # request buffers of a mount, a MiB each once used; at least two a lane
_STRATEGIES: Final = {
    "program": BY_PROGRAM, "record": BY_PROGRAM, "cache": BY_CACHE, "upcall": BY_UPCALL,
}  # fmt: skip


class DataPlane:
    """Lanes of one mount, or the reason why there are none.

    Args:
        wanted: lanes that serve; None: as many as pay here; 0: none.
        access: how members are accessed.
        progress: told what takes long.

    Attributes:
        lanes: for the transport; None without lanes.
        board: their slots, for the control plane.
        reason: a sentence for people.
    """

    def __init__(self, wanted: int | None, access: Access, progress: Callable[[str], None]) -> None:
        self.lanes: Lanes | None = None
        self.board = SlotBoard()
        self._misses: Misses | None = None
        self._can_block = access.can_block
        self._copies = access.copies
        count, self.reason = _how_many(wanted, access)
        if not count:
            return
        if not compiled_here():
            self.reason = "off: there are no system call numbers for this processor"
            return
        # One beyond those that serve: it reads on while the others wait for a device.
        nr_lanes = count + access.can_block
        plane = Plane(
            access.members,
            nr_lanes=nr_lanes,
            requests_per_lane=max(2, _REQUESTS // nr_lanes),
            nr_resumers=LANES_PER_DEVICE if access.can_block else 1,
        )
        lanes = Lanes(plane)
        if not are_compiled():
            progress("compiling the data plane, once per version and processor: about 20 s")
        try:
            lanes.load()
        except CompileError as exc:
            lanes.close()
            self.reason = f"off: {exc}"
            log.warning("lanes %s", self.reason)
            return
        if DIRECT in access.modes.values():
            plane.allow_batches(RUNS_MAX)
        allow_waking()
        self.lanes = lanes
        self.board = SlotBoard(plane.nr_requests, plane.get(SLOTS))

    def connect(self, control: ControlPlane, *, atime: bool, kernel_times: bool) -> None:
        """Tell the lanes of the control plane's table; before they start.

        Args:
            control: of this mount.
            atime: raise access times, as relatime.
            kernel_times: the kernel keeps the times of what it writes back.
        """
        if self.lanes is None:
            return
        core, plane = control.core, self.lanes.plane
        flags = (
            READ_ONLY * core.read_only
            | NO_ATIME * (not atime)
            | CAN_BLOCK * self._can_block
            | KERNEL_TIMES * kernel_times
            | COPIES * self._copies
        )
        for word, value in (
            (ENTRIES, core.shared.entries), (NR_BUCKETS, core.shared.nr_buckets),
            (FLAGS, flags), (STRATEGY, _STRATEGIES[core.strategy]), (FILE_END, LAST_END),
        ):  # fmt: skip
            plane.set(word, value)
        control.points.dirt.written_by_lanes = partial(plane.total, SERVED_WRITTEN_BYTES)

    def misses(self, control: ControlPlane) -> Misses | None:
        """Return who answers the lanes, to be run beside the handlers."""
        if self.lanes is None:
            return None
        lanes = self.lanes
        self._misses = Misses(
            control.core, control.room, lanes.posted, lanes.answers, lanes.plane.request
        )
        return self._misses

    def close(self) -> None:
        """Close the pipes; the transport has stopped, and nobody answers misses any more."""
        if self.lanes is not None:
            self.lanes.close()
            self.lanes.plane.close()

    def describe(self) -> dict[str, Any]:
        """Return what ``info --json`` says of it."""
        lanes = 0 if self.lanes is None else self.lanes.plane.nr_lanes
        return {"lanes": lanes, "reason": self.reason}

    def statistics(self) -> dict[str, Any]:
        """Return the lanes' counters; empty without lanes."""
        if self.lanes is None:
            return {}
        served = self._misses.served if self._misses else 0
        refused = self._misses.forwarded if self._misses else 0
        misses = {"served": served, "forwarded": refused}
        return {**self.lanes.plane.statistics(), "misses": misses}


def _how_many(wanted: int | None, access: Access) -> tuple[int, str]:
    if wanted == 0:
        return 0, "off: asked for by --lanes 0; Python serves every request"
    if wanted is not None:
        return wanted, "asked for"
    cpus = len(os.sched_getaffinity(0))
    if not access.can_block:
        return cpus, "one per CPU: the members are in memory"
    count = min(max(cpus, LANES_PER_DEVICE * len(access.members)), _AUTO_MAX)
    return count, f"{LANES_PER_DEVICE} per member that may wait for a device, and one that reads on"
