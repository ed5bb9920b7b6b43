# SPDX-License-Identifier: MIT
"""What every lane of one mount knows: a page of words, and the records of its members.

Private memory of the server, written by Python before lanes run, or one word at a time while
they do; BUSY alone is theirs.  The inode table that it points to is shared memory and outlives
the server; see `cache.entry`.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from iomapd.abi.units import BLOCK, MAX_FILE_SIZE
from iomapd.cache.entry import SLOT_SIZE
from iomapd.cache.marks import bitmap_size
from iomapd.dataplane import statistics as counters
from iomapd.dataplane.request import AIO, DATA_MAX, NR_REASONS, REQUEST_SIZE, lay_out
from iomapd.native.bits import cycles
from iomapd.native.calls import library_function
from iomapd.native.memory import load64, store64, store_release
from iomapd.native.region import Region
from iomapd.native.syscalls import io_destroy, io_setup

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Words.
DEV: Final = 0  # descriptor of /dev/fuse
MISSES: Final = 8  # descriptor to which missing mappings are posted, a record per write
ENTRIES: Final = 16  # the inode table: address of its first bucket
NR_BUCKETS: Final = 24  # a power of two
SLOTS: Final = 32  # address of the slots, SLOT_SIZE each
NR_SLOTS: Final = 40
MEMBERS: Final = 48  # address of the member records; the index is the member id
NR_MEMBERS: Final = 56  # largest id + 1
FLAGS: Final = 64  # READ_ONLY and so on
STRATEGY: Final = 72  # BY_PROGRAM, BY_CACHE or BY_UPCALL
ZEROS: Final = 80  # address of DATA_MAX zero bytes
FILE_END: Final = 88  # largest end of data, bytes
NR_LANES: Final = 96
CLOCK: Final = 104  # address of clock_gettime(3), which asks no kernel
SELF: Final = 112  # the server's process id
STOP: Final = 128  # 1 = lanes end
BUSY: Final = 192  # lanes in member I/O right now; a cache line of its own
PLANE_SIZE: Final = 256

READ_ONLY: Final = 1
NO_ATIME: Final = 2
CAN_BLOCK: Final = 4  # member I/O may wait for a device: one lane stays outside it
KERNEL_TIMES: Final = 8  # of what the kernel writes back it keeps the times itself
COPIES: Final = 16  # what is written again goes into the members' mappings

BY_PROGRAM: Final = 1
BY_CACHE: Final = 2
BY_UPCALL: Final = 3

# A member record; without a mode nobody has that id.
MEMBER_FD: Final = 0
MEMBER_DATA_OFFSET: Final = 8  # bytes
MEMBER_DATA_SIZE: Final = 16  # bytes
MEMBER_MAP: Final = 24  # address at which the data area is mapped; 0 = nowhere
MEMBER_MAP_SIZE: Final = 32  # bytes of the data area that are mapped
MEMBER_BIT: Final = 40  # its bit in an entry's TOUCHED
MEMBER_MODE: Final = 48
MEMBER_MET: Final = 56  # address of a bitmap: chunks of its mapping that were written before
MEMBER_SIZE: Final = 128

CHUNK: Final = 1 << 16  # bytes of a mapping behind each bit of MEMBER_MET

BUFFERED: Final = 1  # preadv, pwritev
MAPPED: Final = 2  # replies come out of its mapping, writes may go into it with COPIES
DIRECT: Final = 3  # O_DIRECT: whole blocks, aligned

REASONS: Final = (
    "unmapped", "held", "flagged", "refused", "unaligned",
    "partial", "sync", "busy", "other", "foreign", "failed",
)  # fmt: skip
"""Names of the FORWARD reasons in their order."""
assert len(REASONS) == NR_REASONS


@dataclass(frozen=True, slots=True)
class MemberAccess:
    """How lanes reach one member.

    Attributes:
        id: what extents name it by; > 0.
        fd: open for what the mount does; O_DIRECT when *mode* is DIRECT.
        data_offset: where its data area begins, bytes.
        data_size: bytes.
        bit: its place in an entry's TOUCHED, 0..62.
        mode: BUFFERED, MAPPED or DIRECT.
        map_addr: address of a shared mapping of the data area; 0 without.
        map_size: bytes of it.
    """

    id: int
    fd: int
    data_offset: int
    data_size: int
    bit: int
    mode: int = BUFFERED
    map_addr: int = 0
    map_size: int = 0


class Plane:
    """The memory of one mount's lanes; keep it until the last of them has ended.

    Args:
        members: every member of the volume.
        nr_lanes: threads that read /dev/fuse.
        requests_per_lane: buffers of each, so many of its requests may be parked, less one.
        nr_resumers: threads that serve parked requests.

    Attributes:
        addr: address of the words.
        requests: address of the request buffers, a lane's beside each other.
        nr_requests: of them all.
        nr_threads: lanes and resumers.
    """

    def __init__(
        self,
        members: Sequence[MemberAccess],
        *,
        nr_lanes: int = 1,
        requests_per_lane: int = 8,
        nr_resumers: int = 1,
    ) -> None:
        self.nr_lanes = nr_lanes
        self.requests_per_lane = requests_per_lane
        self.nr_requests = nr_lanes * requests_per_lane
        self.nr_members = max((member.id for member in members), default=0) + 1
        self._members = list(members)
        self._met: list[Region] = []
        self._contexts: list[int] = []  # addresses of the words that hold them
        self._words = Region(PLANE_SIZE)
        self._zeros = Region(DATA_MAX)
        self._records = Region(self.nr_members * MEMBER_SIZE)
        self._slots = Region(max(self.nr_requests, 1) * SLOT_SIZE)
        # The kernel looks every page of a buffer up that it copies to or from.
        self._requests = Region(max(self.nr_requests, 1) * REQUEST_SIZE, huge=True)
        self._block_size = counters.statistics_size(self.nr_members)
        self.nr_threads = nr_lanes + nr_resumers
        self._statistics = Region(max(self.nr_threads, 1) * self._block_size)
        self.use_clock(lambda _: cycles())
        self.addr = self._words.addr
        self.requests = self._requests.addr
        self._fill()
        for member in members:
            self.set_member(member)
        for index in range(self.nr_requests):
            lay_out(self.request(index), index, self._slots.addr + index * SLOT_SIZE)

    def _fill(self) -> None:
        self.set(DEV, -1)
        self.set(MISSES, -1)
        self.set(SLOTS, self._slots.addr)
        self.set(NR_SLOTS, self.nr_requests)
        self.set(MEMBERS, self._records.addr)
        self.set(NR_MEMBERS, self.nr_members)
        self.set(STRATEGY, BY_PROGRAM)
        self.set(ZEROS, self._zeros.addr)
        self.set(FILE_END, MAX_FILE_SIZE - MAX_FILE_SIZE % BLOCK)
        self.set(NR_LANES, self.nr_lanes)
        self.set(SELF, os.getpid())
        self.set(CLOCK, library_function("clock_gettime"))

    def get(self, word: int) -> int:
        """Return a word."""
        return load64(self.addr + word)

    def set(self, word: int, value: int) -> None:
        """Set a word; lanes may be running."""
        store_release(self.addr + word, value)

    def set_member(self, member: MemberAccess) -> None:
        """Fill in a member's record; no lane runs yet."""
        record = self._records.addr + member.id * MEMBER_SIZE
        store64(record + MEMBER_FD, member.fd)
        store64(record + MEMBER_DATA_OFFSET, member.data_offset)
        store64(record + MEMBER_DATA_SIZE, member.data_size)
        store64(record + MEMBER_MAP, member.map_addr)
        store64(record + MEMBER_MAP_SIZE, member.map_size)
        store64(record + MEMBER_BIT, 1 << member.bit)
        store64(record + MEMBER_MODE, member.mode)
        self._met.append(Region(bitmap_size(-(-member.map_size // CHUNK) + 1)))
        store64(record + MEMBER_MET, self._met[-1].addr)

    def request(self, index: int) -> int:
        """Return the address of request buffer *index*."""
        return self.requests + index * REQUEST_SIZE

    def allow_batches(self, nr_events: int) -> bool:
        """Let requests move several runs at a time; whether the system has AIO contexts left.

        Args:
            nr_events: runs at a time, of each request.
        """
        for index in range(self.nr_requests):
            word = self.request(index) + AIO
            if io_setup(nr_events, word) != 0:
                self.close()
                return False
            self._contexts.append(word)
        return True

    def close(self) -> None:
        """Give back what the kernel keeps for the requests; no lane runs any more."""
        for word in self._contexts:
            io_destroy(load64(word))
            store64(word, 0)
        self._contexts.clear()

    def statistics_block(self, thread: int) -> int:
        """Return the address of the counters of thread *thread*: lanes, then resumers."""
        return self._statistics.addr + thread * self._block_size

    def total(self, offset: int) -> int:
        """Return the sum of the counter at *offset* over all threads."""
        blocks = range(self.nr_threads)
        return sum(load64(self.statistics_block(thread) + offset) for thread in blocks)

    def use_clock(self, read_cycles: Callable[[int], int]) -> None:
        """Say what counts the cycles of latencies; from now on it is compared with a clock."""
        self._read_cycles = read_cycles
        self._since = (read_cycles(0), time.monotonic_ns())

    def _ns_per_cycle(self) -> float:
        cycles_before, ns_before = self._since
        passed = self._read_cycles(0) - cycles_before
        return (time.monotonic_ns() - ns_before) / passed if passed > 0 else 1.0

    def statistics(self) -> dict[str, Any]:
        """Return all counters since the mount, by name; latencies in ns."""
        names = {
            "reads": counters.SERVED_READS, "read_bytes": counters.SERVED_READ_BYTES,
            "writes": counters.SERVED_WRITES, "written_bytes": counters.SERVED_WRITTEN_BYTES,
            "parked": counters.NR_PARKED, "resumed": counters.NR_RESUMED,
            "errors": counters.IO_ERRORS, "interrupted": counters.INTERRUPTED,
            "undelivered": counters.UNDELIVERED,
        }  # fmt: skip
        forwarded = {
            name: self.total(counters.FORWARDED + 8 * index) for index, name in enumerate(REASONS)
        }
        return {
            **{name: self.total(offset) for name, offset in names.items()},
            "threads": [self._thread_statistics(thread) for thread in range(self.nr_threads)],
            "forwarded": forwarded,
            "read_latency": self._histogram(counters.READ_LATENCY),
            "write_latency": self._histogram(counters.WRITE_LATENCY),
            "members": {member.id: self._member_statistics(member) for member in self._members},
        }

    def _thread_statistics(self, thread: int) -> dict[str, int | str]:
        block = self.statistics_block(thread)
        return {
            "name": f"lane {thread}" if thread < self.nr_lanes else "resume",
            "reads": load64(block + counters.SERVED_READS),
            "writes": load64(block + counters.SERVED_WRITES),
            "forwarded": sum(load64(block + counters.FORWARDED + 8 * i) for i in range(NR_REASONS)),
        }

    def _histogram(self, offset: int) -> list[dict[str, int]]:
        """Return the bins that are not empty: number, upper bound in ns, how many fell in it."""
        scale = self._ns_per_cycle()
        counts = [self.total(offset + 8 * index) for index in range(counters.NR_BINS)]
        return [
            {"bin": index, "below_ns": round(2.0 ** (index + 1) * scale), "count": count}
            for index, count in enumerate(counts)
            if count
        ]

    def _member_statistics(self, member: MemberAccess) -> dict[str, Any]:
        base = counters.MEMBER_COUNTERS + member.id * counters.MEMBER_COUNTERS_SIZE
        names = {
            "reads": counters.MEMBER_READS, "read_bytes": counters.MEMBER_READ_BYTES,
            "writes": counters.MEMBER_WRITES, "written_bytes": counters.MEMBER_WRITTEN_BYTES,
            "errors": counters.MEMBER_ERRORS,
        }  # fmt: skip
        found = {name: self.total(base + offset) for name, offset in names.items()}
        return {**found, "last_error": self._last_error(member) if found["errors"] else ""}

    def _last_error(self, member: MemberAccess) -> str:
        """Return the last failure of a thread that is still known to be this member's."""
        for thread in range(self.nr_threads):
            block = self.statistics_block(thread)
            if load64(block + counters.ERROR_MEMBER) == member.id:
                addr = member.data_offset + load64(block + counters.ERROR_ADDR)
                return f"I/O at {addr}: {os.strerror(load64(block + counters.ERROR_NUMBER))}"
        return ""
