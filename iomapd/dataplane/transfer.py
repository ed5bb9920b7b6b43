# SPDX-License-Identifier: MIT
"""Member I/O of a request's pieces, and the replies.

    piece on                    read                                   write
    zeros                       out of the plane's zero area           -
    MAPPED, inside its mapping  out of the mapping, by the reply       pwritev
    BUFFERED, MAPPED beyond     preadv into the request's buffer       pwritev
    DIRECT                      the same, rounded to whole blocks      pwritev, whole blocks only

Pieces of a member that are contiguous there make one vectored call.  A reply is one writev of
its header and its pieces in file order, so bytes of mapped members are copied once, by the kernel.
A page that cannot be read fails that writev with EFAULT; the kernel has ended the
request with EIO by then.
"""

from __future__ import annotations

import errno
from typing import Final

from iomapd.abi.fuse import IN_UNIQUE, OUT_ERROR, OUT_HEADER_SIZE, OUT_UNIQUE, WRITE_OUT_SIZE
from iomapd.abi.units import BLOCK
from iomapd.dataplane.find import PIECE_SIZE
from iomapd.dataplane.gather import mode_of
from iomapd.dataplane.plane import (
    BUFFERED,
    BUSY,
    CAN_BLOCK,
    DEV,
    DIRECT,
    FLAGS,
    MAPPED,
    MEMBER_BIT,
    MEMBER_DATA_OFFSET,
    MEMBER_FD,
    MEMBER_MAP,
    MEMBER_MODE,
    MEMBER_SIZE,
    MEMBERS,
    NR_LANES,
    ZEROS,
)
from iomapd.dataplane.request import (
    FAILED,
    FORWARD_BUSY,
    GO_ON,
    HEADER,
    IOV,
    MESSAGE,
    MODES,
    NR_PIECES,
    ORIGIN,
    PARKED,
    PIECES,
    STATE,
)
from iomapd.dataplane.statistics import (
    INTERRUPTED,
    IO_ERRORS,
    UNDELIVERED,
    add,
    count_error,
    count_member,
)
from iomapd.native.memory import fetch_add, load64, store32, store64
from iomapd.native.syscalls import IOV_MAX, IOV_SIZE, preadv, pwritev, readahead, write, writev

EFAULT: Final = int(errno.EFAULT)
EINTR: Final = int(errno.EINTR)
EIO: Final = int(errno.EIO)
ENOENT: Final = int(errno.ENOENT)


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
        status = move_pieces(plane, request, stats, 1)
        leave(plane, request)
    return status


def member_of(plane: int, index: int) -> int:
    """Return the address of the record of member *index*."""
    return load64(plane + MEMBERS) + index * MEMBER_SIZE


def move_pieces(plane: int, request: int, stats: int, writing: int) -> int:
    """Move pieces between members and buffer, one vectored call for a contiguous run.

    What has been moved carries its member negated.

    Returns:
        GO_ON or FAILED.
    """
    piece = load64(request + PIECES)
    count = load64(request + NR_PIECES)
    for left in range(count, 0, -1):
        index = load64(piece)
        if index > 0:
            member = member_of(plane, index)
            if writing or mode_of(member, piece) != MAPPED:
                nr_parts, size = collect(request, member, piece, left, 1)
                addr = load64(piece + 8) & -granule(member)
                if move_run(request, member, nr_parts, addr, size, writing) != size:
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
                _, size = collect(request, member, piece, left, 0)
                pos = load64(member + MEMBER_DATA_OFFSET) + load64(piece + 8)
                readahead(load64(member + MEMBER_FD), pos, size)
        piece += PIECE_SIZE


def granule(member: int) -> int:
    """Return what positions and lengths of I/O on *member* are multiples of, bytes."""
    return BLOCK if load64(member + MEMBER_MODE) == DIRECT else 1


def collect(request: int, member: int, piece: int, left: int, taking: int) -> tuple[int, int]:
    """List the parts of the buffer that belong to the run that begins with *piece*.

    Args:
        request: whose iovecs are filled.
        member: the record of the member of *piece*.
        piece: address of the first piece of the run.
        left: pieces from there to the last.
        taking: 1 when the run is about to be moved: its pieces are marked so.

    Returns:
        ``(nr_parts, size)``: iovecs filled, and bytes of them all.
    """
    iov = load64(request + IOV)
    origin = load64(request + ORIGIN)
    mask = -granule(member)
    index = load64(piece)
    expected = load64(piece + 8) & mask
    nr_parts = 0
    size = 0
    for _ in range(left):
        if load64(piece) == index:
            if load64(piece + 8) & mask != expected:
                break
            # A piece and its member's bytes lie alike in their blocks.
            start = load64(piece + 16) & mask
            length = ((load64(piece + 24) - mask - 1) & mask) - start
            store64(iov, origin + start)
            store64(iov + 8, length)
            if taking:
                store64(piece, -index)
            expected += length
            size += length
            nr_parts += 1
            iov += IOV_SIZE
        piece += PIECE_SIZE
    return nr_parts, size


def move_run(request: int, member: int, nr_parts: int, addr: int, size: int, writing: int) -> int:
    """Move one run to its end, however short the calls come back; bytes moved, or -errno.

    A member that ends early moves nothing more: fewer bytes than *size*, never zeros.
    """
    fd = load64(member + MEMBER_FD)
    pos = load64(member + MEMBER_DATA_OFFSET) + addr
    iov = load64(request + IOV)
    done = 0
    while done < size:
        count = min(nr_parts, IOV_MAX)
        moved = pwritev(fd, iov, count, pos) if writing else preadv(fd, iov, count, pos)
        if moved == -EINTR:
            continue
        if moved <= 0:
            return moved
        done += moved
        pos += moved
        while nr_parts > 0 and load64(iov + 8) <= moved:
            moved -= load64(iov + 8)
            iov += IOV_SIZE
            nr_parts -= 1
        if moved > 0:
            store64(iov, load64(iov) + moved)
            store64(iov + 8, load64(iov + 8) - moved)
    return done


def reply_pieces(plane: int, request: int, stats: int, size: int) -> None:
    """Answer a READ with its pieces, wherever each of them lies in memory."""
    iov = load64(request + IOV)
    put_header(request, size, 0)
    store64(iov, load64(request + HEADER))
    store64(iov + 8, OUT_HEADER_SIZE)
    piece = load64(request + PIECES)
    nr_parts = 1
    reached = 0
    for _ in range(load64(request + NR_PIECES)):
        at = place_of(plane, request, stats, piece)
        length = load64(piece + 24) - load64(piece + 16)
        part = iov + nr_parts * IOV_SIZE
        if at == reached:
            store64(part - 8, load64(part - 8) + length)
        else:
            store64(part, at)
            store64(part + 8, length)
            nr_parts += 1
        reached = at + length
        piece += PIECE_SIZE
    written = writev(load64(plane + DEV), iov, nr_parts)
    if written == -EFAULT:
        # Nearly always the kernel has ended it, and finds no such request now.
        reply_error(plane, request, stats, EIO)
        blame_mapping(request, stats)
    elif written != OUT_HEADER_SIZE + size:
        count_refusal(stats, written)


def blame_mapping(request: int, stats: int) -> None:
    """Count the fault of a reply for the first mapped piece; which page it was nobody tells."""
    piece = load64(request + PIECES)
    for _ in range(load64(request + NR_PIECES)):
        if load64(piece) > 0:  # what was moved into the buffer is negative
            count_error(stats, load64(piece), load64(piece + 8), EIO)
            return
        piece += PIECE_SIZE


def place_of(plane: int, request: int, stats: int, piece: int) -> int:
    """Return the address at which the bytes of *piece* are."""
    index = load64(piece)
    if index == 0:
        return load64(plane + ZEROS)
    if index < 0:
        return load64(request + ORIGIN) + load64(piece + 16)
    count_member(stats, index, 0, load64(piece + 24) - load64(piece + 16))
    return load64(member_of(plane, index) + MEMBER_MAP) + load64(piece + 8)


def put_header(request: int, size: int, error: int) -> None:
    """Fill in the reply header: *size* bytes follow; *error* is negative or 0."""
    header = load64(request + HEADER)
    store32(header, OUT_HEADER_SIZE + size)
    store32(header + OUT_ERROR, error)
    store64(header + OUT_UNIQUE, load64(load64(request + MESSAGE) + IN_UNIQUE))


def reply_written(plane: int, request: int, stats: int, size: int) -> None:
    """Answer a WRITE: *size* bytes are written."""
    put_header(request, WRITE_OUT_SIZE, 0)
    store64(load64(request + HEADER) + OUT_HEADER_SIZE, size)
    send_header(plane, request, stats, OUT_HEADER_SIZE + WRITE_OUT_SIZE)


def reply_error(plane: int, request: int, stats: int, error: int) -> None:
    """Answer with *error*, a positive errno."""
    add(stats + IO_ERRORS, 1)
    put_header(request, 0, -error)
    send_header(plane, request, stats, OUT_HEADER_SIZE)


def reply_empty(plane: int, request: int, stats: int) -> None:
    """Answer a READ at or behind the end of the file."""
    put_header(request, 0, 0)
    send_header(plane, request, stats, OUT_HEADER_SIZE)


def send_header(plane: int, request: int, stats: int, size: int) -> None:
    """Give a reply that lies in the header area to the kernel."""
    written = write(load64(plane + DEV), load64(request + HEADER), size)
    if written != size:
        count_refusal(stats, written)


def count_refusal(stats: int, written: int) -> None:
    """Count a reply that the kernel did not take; ENOENT is an interrupted request."""
    add(stats + (INTERRUPTED if written == -ENOENT else UNDELIVERED), 1)
