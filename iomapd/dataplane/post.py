# SPDX-License-Identifier: MIT
"""What lanes tell the control plane: records of 48 bytes, one to a write, in a pipe."""

from __future__ import annotations

from iomapd.abi.fuse import IN_NODEID
from iomapd.dataplane.plane import MISSES
from iomapd.dataplane.request import INDEX, MESSAGE, POST, POST_SIZE
from iomapd.native.memory import load64, store64
from iomapd.native.syscalls import write


def post_record(plane: int, request: int, pos: int, count: int, what: int, kind: int) -> bool:
    """Post a record about *request*; whether the pipe took it.

    Args:
        plane: address of the mount's plane.
        request: address of the request buffer; its record area is overwritten.
        pos: file position, or what *kind* says, bytes.
        count: bytes.
        what: opflags, or what *kind* says.
        kind: MISS, UPCALL or FAULT of request.py.
    """
    post = request + POST
    store64(post, load64(request + INDEX))
    store64(post + 8, load64(load64(request + MESSAGE) + IN_NODEID))
    store64(post + 16, pos)
    store64(post + 24, count)
    store64(post + 32, what)
    store64(post + 40, kind)
    return write(load64(plane + MISSES), post, POST_SIZE) == POST_SIZE
