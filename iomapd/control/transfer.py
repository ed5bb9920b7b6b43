# SPDX-License-Identifier: MIT
"""Blocking transfers between a member and memory, to the last byte; they run in threads.

An O_DIRECT member takes whole blocks between page-aligned memory and itself, nothing else:

    whole blocks into aligned memory    as they are
    anything else                       through a page-aligned bounce buffer
    a write that fills a block in part  reads the block, changes it, writes it

The last line loses one of two writes that change the same block at once, so its caller must
be alone with the file; see `MemberIO.needs_whole_blocks`.
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import TYPE_CHECKING

from iomapd.abi.units import BLOCK
from iomapd.control.buffers import SIZE
from iomapd.geometry.ranges import round_down, round_up

if TYPE_CHECKING:
    from iomapd.control.buffers import BufferPool


def transfer(fd: int, addr: int, views: list[memoryview], writing: bool, granule: int = 1) -> None:
    """Read or write all of *views* at *addr*, however short the calls come back.

    Args:
        fd: the member.
        addr: bytes from its beginning.
        views: where the bytes go or come from, in order.
        writing: to the member.
        granule: what a call that comes back short is a multiple of, bytes.

    Raises:
        OSError: of the member; EIO where it ends.
    """
    call = os.pwritev if writing else os.preadv
    while views:
        done = call(fd, views, addr)
        if done == 0 or done % granule:
            # A member that shrank: never a short success, never zeros.
            raise OSError(errno.EIO, "the member ends here")
        addr += done
        views = skip(views, done)


def transfer_direct(
    fd: int, addr: int, views: list[memoryview], writing: bool, pool: BufferPool
) -> None:
    """As `transfer`, on a member that is open with O_DIRECT; bounces come from *pool*."""
    if not writing and addr % BLOCK == 0 and all(map(_is_whole, views)):
        transfer(fd, addr, views, writing, BLOCK)
        return
    end = addr + sum(map(len, views))
    while addr < end:
        low = round_down(addr, BLOCK)
        stop = min(end, low + SIZE)
        high = round_up(stop, BLOCK)
        with pool.lent(high - low) as bounce:
            inner = bounce[addr - low : stop - low]
            if writing:
                _read_edges(fd, bounce, low, addr, stop)
                views = _copy(views, inner, writing)
                transfer(fd, low, [bounce], writing, BLOCK)
            else:
                transfer(fd, low, [bounce], writing, BLOCK)
                views = _copy(views, inner, writing)
        addr = stop


def skip(views: list[memoryview], done: int) -> list[memoryview]:
    """Return *views* without their first *done* bytes."""
    rest: list[memoryview] = []
    for view in views:
        if done < len(view):
            rest.append(view[done:])
        done = max(0, done - len(view))
    return rest


def _is_whole(view: memoryview) -> bool:
    """Tell whether a writable view is whole blocks of page-aligned memory."""
    return not (len(view) % BLOCK or ctypes.addressof(ctypes.c_char.from_buffer(view)) % BLOCK)


def _read_edges(fd: int, bounce: memoryview, low: int, addr: int, stop: int) -> None:
    """Fill the blocks of *bounce*, which lies at *low*, that ``[addr, stop)`` fills in part."""
    last = round_down(stop, BLOCK)
    if addr > low:
        transfer(fd, low, [bounce[:BLOCK]], False, BLOCK)
    if stop > last and (last > low or addr == low):
        transfer(fd, last, [bounce[last - low : last - low + BLOCK]], False, BLOCK)


def _copy(views: list[memoryview], inner: memoryview, writing: bool) -> list[memoryview]:
    """Copy between the beginning of *views* and all of *inner*; return the rest of *views*."""
    at = 0
    for view in views:
        count = min(len(view), len(inner) - at)
        if writing:
            inner[at : at + count] = view[:count]
        else:
            view[:count] = inner[at : at + count]
        at += count
    return skip(views, len(inner))
