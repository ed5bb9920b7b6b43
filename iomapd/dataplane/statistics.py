# SPDX-License-Identifier: MIT
"""Counters of the compiled loops: one block for each thread, its only writer.

    OFFSET  COUNTERS
         0  words below
       128  forwarded requests by reason, FORWARD_* of request.py
       256  latency of READ, in cycles: how many took [2**n, 2**(n+1))
       768  latency of WRITE
      1280  per member id: reads, read_bytes, writes, written_bytes, errors

No counter is shared, so counting costs a load and a store; readers add the blocks up.
Latency runs from the moment a request was read to its reply, parking included.
"""

from __future__ import annotations

from typing import Final

from iomapd.dataplane.request import FORWARD, STARTED
from iomapd.native.bits import bit_length, cycles
from iomapd.native.memory import load64, store64

SERVED_READS: Final = 0
SERVED_WRITES: Final = 8
SERVED_READ_BYTES: Final = 16
SERVED_WRITTEN_BYTES: Final = 24
NR_PARKED: Final = 32
NR_RESUMED: Final = 40
IO_ERRORS: Final = 48  # requests answered with EIO
INTERRUPTED: Final = 56  # replies to requests that the kernel had given up
UNDELIVERED: Final = 64  # replies that the kernel did not take for another reason
ERROR_MEMBER: Final = 72  # the last member I/O that failed, for people:
ERROR_ADDR: Final = 80  # byte in its data area,
ERROR_NUMBER: Final = 88  # errno
FORWARDED: Final = 128
READ_LATENCY: Final = 256
WRITE_LATENCY: Final = 768
MEMBER_COUNTERS: Final = 1280
NR_BINS: Final = 64

MEMBER_READS: Final = 0
MEMBER_READ_BYTES: Final = 8
MEMBER_WRITES: Final = 16
MEMBER_WRITTEN_BYTES: Final = 24
MEMBER_ERRORS: Final = 32
MEMBER_COUNTERS_SIZE: Final = 64

_PAGE: Final = 4096


def statistics_size(nr_members: int) -> int:
    """Return the bytes of one block, a multiple of a page: no two writers share a line."""
    size = MEMBER_COUNTERS + nr_members * MEMBER_COUNTERS_SIZE
    return (size + _PAGE - 1) // _PAGE * _PAGE


def add(counter: int, amount: int) -> None:
    """Add *amount* to the counter at address *counter*, whose only writer is the caller."""
    store64(counter, load64(counter) + amount)


def count_forward(stats: int, reason: int) -> None:
    """Count a request that goes to the control plane for *reason*."""
    add(stats + FORWARDED + 8 * (reason - FORWARD), 1)


def count_member(stats: int, member: int, writing: int, size: int) -> None:
    """Count one member I/O of *size* bytes."""
    counters = stats + MEMBER_COUNTERS + member * MEMBER_COUNTERS_SIZE
    if writing:
        add(counters + MEMBER_WRITES, 1)
        add(counters + MEMBER_WRITTEN_BYTES, size)
    else:
        add(counters + MEMBER_READS, 1)
        add(counters + MEMBER_READ_BYTES, size)


def count_error(stats: int, member: int, addr: int, error: int) -> None:
    """Count a member I/O that failed, and keep what it was."""
    add(stats + MEMBER_COUNTERS + member * MEMBER_COUNTERS_SIZE + MEMBER_ERRORS, 1)
    store64(stats + ERROR_MEMBER, member)
    store64(stats + ERROR_ADDR, addr)
    store64(stats + ERROR_NUMBER, error)


def count_served(request: int, stats: int, writing: int, size: int) -> None:
    """Count a request that was answered with *size* bytes, and how long that took."""
    latency = bit_length(cycles() - load64(request + STARTED)) - 1
    bin_at = 8 * min(max(latency, 0), NR_BINS - 1)
    if writing:
        add(stats + SERVED_WRITES, 1)
        add(stats + SERVED_WRITTEN_BYTES, size)
        add(stats + WRITE_LATENCY + bin_at, 1)
    else:
        add(stats + SERVED_READS, 1)
        add(stats + SERVED_READ_BYTES, size)
        add(stats + READ_LATENCY + bin_at, 1)
