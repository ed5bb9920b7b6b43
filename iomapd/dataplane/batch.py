# SPDX-License-Identifier: MIT
"""Runs on several O_DIRECT members at the same time, by Linux AIO (`man 2 io_submit`).

A direct transfer waits for its device, so one after the other a request would take as long as all
of its members together.  Submitted in one call and awaited in another they take as long as
the slowest, for two system calls instead of one each.  io_submit of anything but O_DIRECT would
wait all the same, so page cache members have readahead instead.

Areas of a request's batch, `RUNS_MAX` of each:

    OFFSET  AREA      SIZE
         0  iocbs       64  struct iocb of linux/aio_abi.h
      1024  pointers     8  to the iocbs
      1152  events      32  struct io_event: data, obj, res, res2
      1664  notes       32  bytes, member id, addr, result: what an iocb does not say
"""

from __future__ import annotations

import errno
from typing import Final

from iomapd.dataplane.members import granule, member_of
from iomapd.dataplane.plane import MEMBER_DATA_OFFSET, MEMBER_FD
from iomapd.dataplane.request import (
    AIO,
    BATCH,
    BATCH_SIZE,
    FAILED,
    GO_ON,
    IOV,
    NR_PIECES,
    PIECES,
)
from iomapd.dataplane.runs import collect, move_run
from iomapd.dataplane.statistics import count_error, count_member
from iomapd.mapping.walk import PIECE_SIZE
from iomapd.native.memory import load32, load64, store16, store32, store64
from iomapd.native.syscalls import IOV_SIZE, io_getevents, io_submit

EINTR: Final = int(errno.EINTR)
EIO: Final = int(errno.EIO)

RUNS_MAX: Final = 16
"""Runs submitted at once; a request with more of them does so several times."""

IOCB_DATA: Final = 0  # comes back in the event: which run it was
IOCB_OPCODE: Final = 16
IOCB_FD: Final = 20
IOCB_BUF: Final = 24  # address of the iovecs
IOCB_NBYTES: Final = 32  # and how many
IOCB_OFFSET: Final = 40
IOCB_SIZE: Final = 64
CMD_PREADV: Final = 7
CMD_PWRITEV: Final = 8

EVENT_RES: Final = 16
EVENT_SIZE: Final = 32

NOTE_SIZE: Final = 32

_POINTERS: Final = RUNS_MAX * IOCB_SIZE
_EVENTS: Final = _POINTERS + RUNS_MAX * 8
_NOTES: Final = _EVENTS + RUNS_MAX * EVENT_SIZE
assert _NOTES + RUNS_MAX * NOTE_SIZE <= BATCH_SIZE


def move_together(plane: int, request: int, stats: int, writing: int) -> int:
    """Move the pieces of direct members between them and the buffer; GO_ON or FAILED.

    What has been moved carries its member negated.
    """
    piece = load64(request + PIECES)
    iov = load64(request + IOV)
    nr_runs = 0
    for left in range(load64(request + NR_PIECES), 0, -1):
        index = load64(piece)
        if index > 0:
            if nr_runs == RUNS_MAX:
                if carry_out(request, stats, nr_runs, writing) != GO_ON:
                    return FAILED
                nr_runs = 0
            member = member_of(plane, index)
            nr_parts, size = collect(request, member, piece, left, 1, iov)
            addr = load64(piece + 8) & -granule(member)
            describe(request, nr_runs, index, addr, size)
            prepare(request, nr_runs, member, addr, iov, nr_parts, writing)
            iov += nr_parts * IOV_SIZE
            nr_runs += 1
        piece += PIECE_SIZE
    return carry_out(request, stats, nr_runs, writing)


def describe(request: int, run: int, index: int, addr: int, size: int) -> None:
    """Note of *run* what an iocb does not say; it has no result yet."""
    note = load64(request + BATCH) + _NOTES + run * NOTE_SIZE
    store64(note, size)
    store64(note + 8, index)
    store64(note + 16, addr)
    store64(note + 24, -EINTR)


def prepare(
    request: int, run: int, member: int, addr: int, iov: int, nr_parts: int, writing: int
) -> None:
    """Fill in the iocb of *run*; its other fields are zero."""
    iocb = load64(request + BATCH) + run * IOCB_SIZE
    store64(iocb + IOCB_DATA, run)
    store16(iocb + IOCB_OPCODE, CMD_PWRITEV if writing else CMD_PREADV)
    store32(iocb + IOCB_FD, load64(member + MEMBER_FD))
    store64(iocb + IOCB_BUF, iov)
    store64(iocb + IOCB_NBYTES, nr_parts)
    store64(iocb + IOCB_OFFSET, load64(member + MEMBER_DATA_OFFSET) + addr)
    store64(load64(request + BATCH) + _POINTERS + run * 8, iocb)


def carry_out(request: int, stats: int, nr_runs: int, writing: int) -> int:
    """Move *nr_runs* prepared runs at the same time; GO_ON, or FAILED when one was not whole.

    One that came back short, or was not taken, is moved again by itself.
    """
    batch = load64(request + BATCH)
    if nr_runs > 1:
        await_runs(request, submit_runs(request, nr_runs))
    for run in range(nr_runs):
        note = batch + _NOTES + run * NOTE_SIZE
        iocb = batch + run * IOCB_SIZE
        size = load64(note)
        if load64(note + 24) != size:
            fd, pos = load32(iocb + IOCB_FD), load64(iocb + IOCB_OFFSET)
            parts, nr_parts = load64(iocb + IOCB_BUF), load64(iocb + IOCB_NBYTES)
            if move_run(fd, pos, parts, nr_parts, size, writing) != size:
                count_error(stats, load64(note + 8), load64(note + 16), EIO)
                return FAILED
        count_member(stats, load64(note + 8), writing, size)
    return GO_ON


def submit_runs(request: int, nr_runs: int) -> int:
    """Begin as many of the prepared runs as the kernel takes; how many."""
    pointers = load64(request + BATCH) + _POINTERS
    begun = 0
    while begun < nr_runs:
        result = io_submit(load64(request + AIO), nr_runs - begun, pointers + 8 * begun)
        if result <= 0:
            break
        begun += result
    return begun


def await_runs(request: int, begun: int) -> None:
    """Wait until *begun* runs are over, whatever interrupts: their memory is the kernel's."""
    batch = load64(request + BATCH)
    events = batch + _EVENTS
    while begun > 0:
        count = io_getevents(load64(request + AIO), begun, begun, events)
        for index in range(count):
            event = events + index * EVENT_SIZE
            note = batch + _NOTES + load64(event) * NOTE_SIZE
            store64(note + 24, load64(event + EVENT_RES))
        begun -= max(count, 0)
