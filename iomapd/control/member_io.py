# SPDX-License-Identifier: MIT
"""Member I/O of the control plane: vectored, one call per run, never in the way.

Facts: preadv2(2) and pwritev2(2) with RWF_NOWAIT do what needs no waiting (pages
in the page cache) and fail with EAGAIN otherwise; file systems that cannot tell
answer EOPNOTSUPP.  A hop to a thread costs about 60 us, a cached 256 KiB copy
about as much.  So each run is tried in the event loop without waiting; what
remains goes to threads, all members side by side, bounded per member.

One way of access per member, for everybody: what lanes do with O_DIRECT is done so here too,
since a page cache beside it would go stale.  `MAPPED` members are read by preadv here: it is
the same page cache, and a member that shrank gives a short read instead of SIGBUS.
"""

from __future__ import annotations

import errno
import logging
import os
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from iomapd.control.buffers import BufferPool
from iomapd.control.transfer import skip, transfer, transfer_direct
from iomapd.dataplane.plane import BUFFERED, DIRECT, MAPPED
from iomapd.errors import MemberError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from iomapd.dataplane.pieces import Run
    from iomapd.volume.member import Member

log = logging.getLogger(__name__)

THREADS_PER_MEMBER: Final = 4

MODE_NAMES: Final = {BUFFERED: "buffered", MAPPED: "mapped", DIRECT: "direct"}
"""What users call the ways of access."""

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(slots=True)
class MemberCounters:
    """Counts since the mount; bytes of completed I/O.

    *last_error* says what failed last, with its byte address in the member.
    """

    reads: int = 0
    read_bytes: int = 0
    writes: int = 0
    written_bytes: int = 0
    flushes: int = 0
    errors: int = 0
    in_threads: int = 0
    last_error: str = ""


@dataclass(slots=True)
class _Seat:
    member: Member
    limiter: trio.CapacityLimiter
    mode: int
    counters: MemberCounters = field(default_factory=MemberCounters)
    nowait_writes: bool = True
    failed: bool = False  # a flush failed: sticky until remount


class MemberIO:
    """Reads, writes and flushes of all members of a mount.

    Args:
        members: open; when `DIRECT`, with O_DIRECT.
        modes: how they are accessed, by member id; `BUFFERED` unless given.

    Attributes:
        needs_whole_blocks: a write that fills a block in part rewrites all of it, so who
            makes one must be alone with the file.
    """

    def __init__(self, members: Iterable[Member], modes: Mapping[int, int] | None = None) -> None:
        self._seats = {
            m.id: _Seat(
                m, trio.CapacityLimiter(THREADS_PER_MEMBER), (modes or {}).get(m.id, BUFFERED)
            )
            for m in members
        }
        self._bounces = BufferPool()
        self.needs_whole_blocks = any(seat.mode == DIRECT for seat in self._seats.values())

    def mode_name(self, member: int) -> str:
        """Return how the member with this id is accessed: buffered, mapped or direct."""
        return MODE_NAMES[self._seats[member].mode]

    def counters(self) -> dict[int, MemberCounters]:
        """Return the counters by member id."""
        return {member: seat.counters for member, seat in self._seats.items()}

    def failed(self) -> set[int]:
        """Return the ids of members whose flush has failed since the mount."""
        return {member for member, seat in self._seats.items() if seat.failed}

    async def read(self, runs: list[Run], buffer: memoryview) -> None:
        """Fill the runs' parts of *buffer*.

        Raises:
            MemberError: a member failed or ended early; the log names the address.
        """
        await self._all(runs, buffer, writing=False)

    async def write(self, runs: list[Run], buffer: memoryview) -> None:
        """Write the runs' parts of *buffer*; into the members' page cache, not to the medium.

        Raises:
            MemberError: as `read`; which runs were written is then not known.
        """
        await self._all(runs, buffer, writing=True)

    async def _all(self, runs: list[Run], buffer: memoryview, *, writing: bool) -> None:
        rest: list[tuple[_Seat, int, list[memoryview]]] = []
        for run in runs:
            seat = self._seats[run.member]
            views = [buffer[start:end] for start, end in run.parts]
            addr = seat.member.data_offset + run.addr
            total = sum(map(len, views))
            _count(seat.counters, total, writing=writing)
            done = self._try_nowait(seat, addr, views, writing=writing)
            if done < total:
                rest.append((seat, addr + done, skip(views, done)))
        if not rest:
            return
        errors: list[MemberError] = []
        if len(rest) == 1:
            await self._in_thread(*rest[0], writing, errors)
        else:
            async with trio.open_nursery() as nursery:
                for job in rest:
                    nursery.start_soon(self._in_thread, *job, writing, errors)
        if errors:
            raise errors[0]

    def _try_nowait(self, seat: _Seat, addr: int, views: list[memoryview], *, writing: bool) -> int:
        if seat.mode == DIRECT or (writing and not seat.nowait_writes):
            return 0
        # tmpfs never waits for a device, whatever it says about RWF_NOWAIT.
        flags = 0 if seat.member.memory_backed else os.RWF_NOWAIT
        call = os.pwritev if writing else os.preadv
        try:
            return call(seat.member.fd, views, addr, flags)
        except OSError as exc:
            if writing and exc.errno in (errno.EOPNOTSUPP, errno.EINVAL):
                seat.nowait_writes = False
            return 0  # a real error shows again in the thread, where it is reported

    async def _in_thread(
        self,
        seat: _Seat,
        addr: int,
        views: list[memoryview],
        writing: bool,
        errors: list[MemberError],
    ) -> None:
        # Errors are collected: each member's is logged, the caller gets one.
        seat.counters.in_threads += 1
        try:
            await trio.to_thread.run_sync(
                self._transfer_of(seat), seat.member.fd, addr, views, writing, limiter=seat.limiter
            )
        except OSError as exc:
            what = f"{'write' if writing else 'read'} at {addr}: {exc.strerror}"
            self._note(seat, what)
            error = MemberError(f"{seat.member.path}: {what}")
            if exc.errno in _FULL and seat.member.kind == "file":
                # A sparse image whose host is full.  Of a device it means "beyond its end".
                error.errno = errno.ENOSPC
            errors.append(error)

    def _note(self, seat: _Seat, what: str) -> None:
        seat.counters.errors += 1
        seat.counters.last_error = what
        log.error("member %s: %s", seat.member.path, what)

    def _transfer_of(self, seat: _Seat) -> Callable[[int, int, list[memoryview], bool], None]:
        return partial(transfer_direct, pool=self._bounces) if seat.mode == DIRECT else transfer

    async def flush(self, members: Iterable[int]) -> set[int]:
        """Fdatasync *members* side by side; return those that failed, now or before.

        A failed flush is sticky: the kernel has marked the pages clean, so a
        second fdatasync would report a success that is none (fsync(2), and
        "Can Applications Recover from fsync Failures?", USENIX ATC 2020).
        """
        wanted = set(members)
        async with trio.open_nursery() as nursery:
            for member in wanted:
                nursery.start_soon(self._flush_one, self._seats[member])
        return {member for member in wanted if self._seats[member].failed}

    async def _flush_one(self, seat: _Seat) -> None:
        if seat.failed:
            return
        seat.counters.flushes += 1
        try:
            # Its own limiter slot would wait behind reads of a slow member;
            # the default limiter's 40 threads are enough for flushes.
            await trio.to_thread.run_sync(os.fdatasync, seat.member.fd)
        except OSError as exc:
            seat.failed = True
            self._note(seat, f"flush failed: {exc.strerror}; its data is not durable until remount")


def _count(counters: MemberCounters, nbytes: int, *, writing: bool) -> None:
    if writing:
        counters.writes += 1
        counters.written_bytes += nbytes
    else:
        counters.reads += 1
        counters.read_bytes += nbytes
