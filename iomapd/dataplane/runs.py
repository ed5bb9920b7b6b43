# SPDX-License-Identifier: MIT
"""Runs: pieces that are contiguous on their member, and move by one vectored call."""

from __future__ import annotations

import errno
from typing import Final

from iomapd.dataplane.members import granule
from iomapd.dataplane.request import ORIGIN
from iomapd.mapping.walk import PIECE_SIZE
from iomapd.native.memory import load64, store64
from iomapd.native.syscalls import IOV_MAX, IOV_SIZE, preadv, pwritev

EINTR: Final = int(errno.EINTR)


def collect(
    request: int, member: int, piece: int, left: int, taking: int, iov: int
) -> tuple[int, int]:
    """List the parts of the buffer that belong to the run that begins with *piece*.

    Args:
        request: whose buffer it is.
        member: the record of the member of *piece*.
        piece: address of the first piece of the run.
        left: pieces from there to the last.
        taking: 1 when the run is about to be moved: its pieces are marked so.
        iov: address of the iovecs to be filled.

    Returns:
        ``(nr_parts, size)``: iovecs filled, and bytes of them all.
    """
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


def move_run(fd: int, pos: int, iov: int, nr_parts: int, size: int, writing: int) -> int:
    """Move one run to its end, however short the calls come back; bytes moved, or -errno.

    A member that ends early moves nothing more: fewer bytes than *size*, never zeros.
    """
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
