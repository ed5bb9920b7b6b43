# SPDX-License-Identifier: MIT
"""The loops of the data plane: lanes read requests, resumers finish those that were parked.

    /dev/fuse --lane--> served: READ and WRITE of mapped inodes
                  |---> forwarded to the server, as relay_in does: everything else
                  '---> parked: a record to the control plane; its buffer stays with it
    answers --resumer--> served, forwarded, or parked again

A lane waits in read(2) and nowhere else for the kernel, so a hot read costs two system
calls.  What ends that read is the kernel's end, or a signal after STOP was set; see wake.py.
While it reads, forwards or is parked, a request shows no inode.
"""

from __future__ import annotations

from typing import Final

from iomapd.abi.fuse import IN_OPCODE, IN_UNIQUE, IO_END, READ, WRITE
from iomapd.dataplane.plane import DEV, STOP
from iomapd.dataplane.post import post_record
from iomapd.dataplane.request import (
    BUSY,
    COOKIE,
    FORWARD_FOREIGN,
    FORWARD_UNMAPPED,
    FREE,
    KIND,
    LENGTH,
    MESSAGE,
    MESSAGE_MAX,
    MISSING,
    MISSING_COUNT,
    NO_COOKIE,
    PARK,
    PARKED,
    PARKS,
    POST_WRITE,
    REQUEST_SIZE,
    SERVED,
    STARTED,
    STATE,
)
from iomapd.dataplane.serve import serve
from iomapd.dataplane.statistics import NR_PARKED, NR_RESUMED, add, count_forward
from iomapd.native.bits import cycles
from iomapd.native.memory import load32, load64, load_acquire, store64, store_release
from iomapd.native.syscalls import read
from iomapd.transport.block import IN_ERRNO, VERDICT
from iomapd.transport.pending import remember, settle
from iomapd.transport.relays import (
    EINTR,
    FAILED,
    GO_ON,
    SERVER_GONE,
    forward,
    no_request,
)

AWAY: Final = 6  # the request is parked: another thread's from now on
KEPT: Final = 7  # it could not be parked

PARKS_MAX: Final = 8
"""How often a request is parked without getting further; then the server serves it."""

# Verdicts of the control plane on a parked request: 16 bytes, index and one of these.
VERDICT_SIZE: Final = 16
SERVE: Final = 1
FORWARD: Final = 2


def lane(
    plane: int, pair: int, block: int, pending: int, first: int, nr_requests: int, stats: int
) -> int:
    """Read requests from the kernel and serve, park or forward each, until the end.

    Args:
        plane: address of the mount's plane; DEV is /dev/fuse, blocking.
        pair: our end of the socket pair, blocking.
        block: address of this lane's own block.
        pending: address of the table of requests on their way.
        first: address of the first of its request buffers, all of them free.
        nr_requests: how many they are.
        stats: address of its counters.

    Returns:
        KERNEL_GONE, SERVER_GONE (also when STOP was set) or FAILED.
    """
    dev = load64(plane + DEV)
    request = find_free(first, nr_requests)
    while load_acquire(plane + STOP) == 0:
        length = read(dev, load64(request + MESSAGE), MESSAGE_MAX)
        if length > 0:
            store64(request + LENGTH, length)
            status = take(plane, pair, block, pending, request, stats, first, nr_requests)
        else:
            status = no_request(block, length)
        if status == AWAY:
            request = find_free(first, nr_requests)
        elif status != GO_ON:
            return status
    return SERVER_GONE


def spare_of(first: int, nr_requests: int) -> int:
    """Return the address of a free request buffer of this lane, or 0."""
    for index in range(nr_requests):
        request = first + index * REQUEST_SIZE
        if load_acquire(request + STATE) == FREE:
            return request
    return 0


def find_free(first: int, nr_requests: int) -> int:
    """Take a free request buffer; only its lane takes, so one that was seen is there."""
    request = spare_of(first, nr_requests)
    store64(request + STATE, BUSY)
    return request


def take(
    plane: int, pair: int, block: int, pending: int, request: int, stats: int,
    first: int, nr_requests: int,
) -> int:  # fmt: skip
    """Serve, park or forward what was read into *request*; the rest as for `lane`.

    The last buffer of a lane is never parked.

    Returns:
        GO_ON, AWAY, or how the lane ends.
    """
    message = load64(request + MESSAGE)
    length = load64(request + LENGTH)
    reason = FORWARD_FOREIGN
    if length >= IO_END and load32(message + IN_OPCODE) in (READ, WRITE):
        store64(request + STARTED, cycles())
        store64(request + COOKIE, NO_COOKIE)
        store64(request + PARKS, 0)
        reason = serve(plane, request, stats)
        if reason == SERVED:
            return GO_ON
        if reason == PARK:
            spare = spare_of(first, nr_requests)
            if spare != 0 and park(plane, pending, request, stats) == AWAY:
                return AWAY
            reason = FORWARD_UNMAPPED
    count_forward(stats, reason)
    return forward(load64(plane + DEV), pair, block, pending, message, length)


def park(plane: int, pending: int, request: int, stats: int) -> int:
    """Ask the control plane for what *request* misses and let go of it: AWAY, or KEPT."""
    parks = load64(request + PARKS) + 1
    if parks > PARKS_MAX:
        return KEPT
    message = load64(request + MESSAGE)
    before = load64(request + STATE)
    store64(request + PARKS, parks)
    # A stop refuses what nobody will serve any more.
    remember(pending, load64(message + IN_UNIQUE), 0)
    store_release(request + STATE, PARKED)
    pos, count = load64(request + MISSING), load64(request + MISSING_COUNT)
    opflags = POST_WRITE if load32(message + IN_OPCODE) == WRITE else 0
    if post_record(plane, request, pos, count, opflags, load64(request + KIND)):
        add(stats + NR_PARKED, 1)
        return AWAY
    store64(request + STATE, before)
    return KEPT


def resume(
    plane: int, pair: int, block: int, pending: int, requests: int, nr_requests: int,
    answers: int, stats: int,
) -> int:  # fmt: skip
    """Finish parked requests as the control plane says, until STOP or the end of its pipe.

    Several threads may run this on one pipe: each record goes to one of them.

    Args:
        plane: address of the mount's plane.
        pair: our end of the socket pair, blocking.
        block: address of this thread's own block.
        pending: address of the table of requests on their way.
        requests: address of the first request buffer of all lanes.
        nr_requests: how many all of them have.
        answers: descriptor of the pipe to read verdicts from, blocking.
        stats: address of this thread's counters.

    Returns:
        SERVER_GONE or FAILED.
    """
    verdict = block + VERDICT
    while load_acquire(plane + STOP) == 0:
        length = read(answers, verdict, VERDICT_SIZE)
        if length == VERDICT_SIZE:
            index = load64(verdict)
            if 0 <= index < nr_requests:
                request = requests + index * REQUEST_SIZE
                serving = load64(verdict + 8) == SERVE
                status = finish(plane, pair, block, pending, request, stats, serving)
                if status != GO_ON:
                    return status
        elif length == 0:
            return SERVER_GONE
        elif length != -EINTR:
            store64(block + IN_ERRNO, -length)
            return FAILED
    return SERVER_GONE


def finish(
    plane: int, pair: int, block: int, pending: int, request: int, stats: int, serving: int
) -> int:
    """Serve or forward one parked request; GO_ON, or how the resumer ends."""
    if load_acquire(request + STATE) != PARKED:
        return GO_ON
    message = load64(request + MESSAGE)
    reason = FORWARD_UNMAPPED
    if serving:
        unique = load64(message + IN_UNIQUE)
        reason = serve(plane, request, stats)
        if reason == SERVED:
            add(stats + NR_RESUMED, 1)
            settle(pending, unique)
            store_release(request + STATE, FREE)
            return GO_ON
        if reason == PARK:
            if park(plane, pending, request, stats) == AWAY:
                return GO_ON
            reason = FORWARD_UNMAPPED
    count_forward(stats, reason)
    length = load64(request + LENGTH)
    status = forward(load64(plane + DEV), pair, block, pending, message, length)
    store_release(request + STATE, FREE)
    return status


def read_cycles(unused: int) -> int:
    """Return the cycle counter as compiled code sees it; Python's twin counts nanoseconds."""
    return cycles() + (unused & 0)
