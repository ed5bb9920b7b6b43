# SPDX-License-Identifier: MIT
"""Replies to READ and WRITE.

A reply is one writev of its header and its pieces in file order, so bytes of mapped members are
copied once, by the kernel.  A page that cannot be read fails that writev with EFAULT; the kernel
has ended the request with EIO by then.
"""

from __future__ import annotations

import errno
from typing import Final

from iomapd.abi.fuse import (
    IN_UNIQUE,
    OUT_ERROR,
    OUT_HEADER_SIZE,
    OUT_UNIQUE,
    WRITE_OUT_SIZE,
)
from iomapd.dataplane.members import mapping_of, member_of
from iomapd.dataplane.plane import DEV, MEMBER_DATA_OFFSET, MEMBER_FD, ZEROS
from iomapd.dataplane.post import post_record
from iomapd.dataplane.request import (
    BUFFER,
    FAULT,
    HEADER,
    IOV,
    MESSAGE,
    NR_PIECES,
    ORIGIN,
    PIECES,
)
from iomapd.dataplane.statistics import (
    INTERRUPTED,
    IO_ERRORS,
    UNDELIVERED,
    add,
    count_error,
    count_member,
)
from iomapd.mapping.walk import PIECE_SIZE
from iomapd.native.memory import load64, store32, store64
from iomapd.native.syscalls import IOV_SIZE, preadv, write, writev

EFAULT: Final = int(errno.EFAULT)
EIO: Final = int(errno.EIO)
ENOENT: Final = int(errno.ENOENT)


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
        blame_mappings(plane, request, stats)
    elif written != OUT_HEADER_SIZE + size:
        count_refusal(stats, written)


def blame_mappings(plane: int, request: int, stats: int) -> None:
    """Find out which mapped pieces cannot be read, count them and have them told.

    The writev does not say where it failed; the members do, one piece after the other.
    """
    iov = load64(request + IOV)
    piece = load64(request + PIECES)
    for _ in range(load64(request + NR_PIECES)):
        index = load64(piece)
        if index > 0:  # what was moved into the buffer is negative
            size = load64(piece + 24) - load64(piece + 16)
            member = member_of(plane, index)
            store64(iov, load64(request + BUFFER))
            store64(iov + 8, size)
            pos = load64(member + MEMBER_DATA_OFFSET) + load64(piece + 8)
            if preadv(load64(member + MEMBER_FD), iov, 1, pos) != size:
                count_error(stats, index, load64(piece + 8), EIO)
                # Nobody waits for it, and a full pipe has enough to say.
                post_record(plane, request, load64(piece + 8), size, index, FAULT)
        piece += PIECE_SIZE


def place_of(plane: int, request: int, stats: int, piece: int) -> int:
    """Return the address at which the bytes of *piece* are."""
    index = load64(piece)
    if index == 0:
        return load64(plane + ZEROS)
    if index < 0:
        return load64(request + ORIGIN) + load64(piece + 16)
    count_member(stats, index, 0, load64(piece + 24) - load64(piece + 16))
    return mapping_of(member_of(plane, index), piece)


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
