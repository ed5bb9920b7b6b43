# SPDX-License-Identifier: MIT
"""Member I/O of a request's pieces.

    piece on                    read                                   write
    zeros                       out of the plane's zero area           -
    MAPPED, inside its mapping  out of the mapping, by the reply       into it, or pwritev
    BUFFERED, MAPPED beyond     preadv into the request's buffer       pwritev
    DIRECT                      the same, rounded to whole blocks      pwritev, whole blocks only

Direct members move side by side (batch.py), the others one after the other.
Pieces of a member that are contiguous there make one vectored call.  Space that is written again
and again on members in memory is copied to in their mappings, all pieces at once; the rest is
pwritev's, which needs no page in the mapping and zeroes none that it fills.
"""

from __future__ import annotations

import errno
from typing import Final

from iomapd.dataplane.batch import move_together
from iomapd.dataplane.members import granule, mapping_of, meet, member_of, mode_of
from iomapd.dataplane.plane import (
    BUFFERED,
    BUSY,
    CAN_BLOCK,
    COPIES,
    DIRECT,
    FLAGS,
    MAPPED,
    MEMBER_BIT,
    MEMBER_DATA_OFFSET,
    MEMBER_FD,
    NR_LANES,
    SELF,
)
from iomapd.dataplane.reply import reply_pieces
from iomapd.dataplane.request import (
    AIO,
    FAILED,
    FORWARD_BUSY,
    GO_ON,
    IOV,
    MODES,
    NR_PIECES,
    ORIGIN,
    PARKED,
    PIECES,
    STATE,
)
from iomapd.dataplane.runs import collect, move_run
from iomapd.dataplane.statistics import count_error, count_member
from iomapd.mapping.walk import PIECE_SIZE
from iomapd.native.memory import fetch_add, load64, store64
from iomapd.native.syscalls import IOV_SIZE, process_vm_readv, readahead

EIO: Final = int(errno.EIO)


def enter(plane: int, request: int) -> int:
    """Begin member I/O; GO_ON, or FORWARD_BUSY when no lane would be left outside it.

    A parked request is served by a thread that reads nothing from the kernel: it is no lane.
    """
    if load64(plane + FLAGS) & CAN_BLOCK == 0 or load64(request + STATE) == PARKED:
        return GO_ON
    if fetch_add(plane + BUSY, 1) + 1 < load64(plane + NR_LANES):
        return GO_ON
    fetch_add(plane + BUSY, -1)
    return FORWARD_BUSY


def leave(plane: int, request: int) -> None:
    """End what `enter` began."""
    if load64(plane + FLAGS) & CAN_BLOCK != 0 and load64(request + STATE) != PARKED:
        fetch_add(plane + BUSY, -1)


def read_pieces(plane: int, request: int, stats: int, size: int) -> int:
    """Answer a READ with its pieces, *size* bytes in all; the buffer holds what is not mapped.

    Returns:
        GO_ON when it was answered, with an error maybe; FAILED, after which the caller
        answers; FORWARD_BUSY.
    """
    status = enter(plane, request)
    if status == GO_ON:
        if load64(request + MODES) & ~(1 << MAPPED) != 0:
            if load64(plane + FLAGS) & CAN_BLOCK != 0:
                start_reads(plane, request)
            status = move_pieces(plane, request, stats, 0)
        if status == GO_ON:
            reply_pieces(plane, request, stats, size)
        leave(plane, request)
    return status


def write_pieces(plane: int, request: int, stats: int) -> int:
    """Write the buffer to the members; GO_ON, FAILED (part of it may be written), FORWARD_BUSY."""
    status = enter(plane, request)
    if status == GO_ON:
        status = FAILED
        if (
            load64(plane + FLAGS) & COPIES != 0
            and load64(request + MODES) == 1 << MAPPED
            and meet_pieces(plane, request)
        ):
            status = copy_pieces(plane, request, stats)
        if status != GO_ON:
            status = move_pieces(plane, request, stats, 1)
        leave(plane, request)
    return status


def meet_pieces(plane: int, request: int) -> bool:
    """Tell whether the pieces, of mapped members, lie where something was written before.

    A mapping gets its pages one fault at a time, three times as dear as what a copy saves in
    each; and a page that is not there yet would be zeroed first.  So what is written once
    is pwritev's, and space that is written again and again pays for its faults the second time.
    """
    piece = load64(request + PIECES)
    again = True
    for _ in range(load64(request + NR_PIECES)):
        if not meet(member_of(plane, load64(piece)), piece):
            again = False
        piece += PIECE_SIZE
    return again


def copy_pieces(plane: int, request: int, stats: int) -> int:
    """Copy the buffer into the mappings of its pieces' members, all mapped, by one system call.

    That the kernel copies makes a page that is gone an errno, not a signal; and a page that is
    there needs no look into the page cache, so this takes three quarters of pwritev's time.

    Returns:
        GO_ON, or FAILED: pwritev can do all of it again, and tells what is wrong.
    """
    piece = load64(request + PIECES)
    count = load64(request + NR_PIECES)
    start = load64(piece + 16)
    iov = load64(request + IOV)
    for index in range(count):
        part = piece + index * PIECE_SIZE
        store64(iov, mapping_of(member_of(plane, load64(part)), part))
        store64(iov + 8, load64(part + 24) - load64(part + 16))
        iov += IOV_SIZE
    size = load64(piece + count * PIECE_SIZE - 8) - start
    store64(iov, load64(request + ORIGIN) + start)
    store64(iov + 8, size)
    parts = load64(request + IOV)
    if process_vm_readv(load64(plane + SELF), parts, count, iov, 1) != size:
        return FAILED
    for index in range(count):
        part = piece + index * PIECE_SIZE
        count_member(stats, load64(part), 1, load64(part + 24) - load64(part + 16))
    return GO_ON


def move_pieces(plane: int, request: int, stats: int, writing: int) -> int:
    """Move pieces between members and buffer, one vectored call for a contiguous run.

    What has been moved carries its member negated.

    Returns:
        GO_ON or FAILED.
    """
    if load64(request + AIO) != 0 and load64(request + MODES) == 1 << DIRECT:
        return move_together(plane, request, stats, writing)
    piece = load64(request + PIECES)
    count = load64(request + NR_PIECES)
    iov = load64(request + IOV)
    for left in range(count, 0, -1):
        index = load64(piece)
        if index > 0:
            member = member_of(plane, index)
            if writing or mode_of(member, piece) != MAPPED:
                nr_parts, size = collect(request, member, piece, left, 1, iov)
                addr = load64(piece + 8) & -granule(member)
                fd = load64(member + MEMBER_FD)
                pos = load64(member + MEMBER_DATA_OFFSET) + addr
                if move_run(fd, pos, iov, nr_parts, size, writing) != size:
                    count_error(stats, index, addr, EIO)
                    return FAILED
                count_member(stats, index, writing, size)
        piece += PIECE_SIZE
    return GO_ON


def start_reads(plane: int, request: int) -> None:
    """Let all members but the first begin to read, so that they are busy at the same time.

    What is in the page cache already costs about a microsecond for each.
    """
    piece = load64(request + PIECES)
    count = load64(request + NR_PIECES)
    first = load64(piece)
    begun = 0
    for left in range(count, 0, -1):
        index = load64(piece)
        if index > 0 and index != first:
            member = member_of(plane, index)
            bit = load64(member + MEMBER_BIT)
            if begun & bit == 0 and mode_of(member, piece) == BUFFERED:
                begun |= bit
                _, size = collect(request, member, piece, left, 0, load64(request + IOV))
                pos = load64(member + MEMBER_DATA_OFFSET) + load64(piece + 8)
                readahead(load64(member + MEMBER_FD), pos, size)
        piece += PIECE_SIZE
