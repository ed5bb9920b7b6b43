# SPDX-License-Identifier: MIT
"""SEEK_DATA and SEEK_HOLE, from content marks.

A mark is set when a write arrives here.  What a program wrote through a shared mapping may
still be a dirty page of the kernel, and the kernel asks without writing it back first; a copy
made then would lose it.  So where somebody may have such a mapping, a hole is believed only
after its pages were written back (`FlushPages`).
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from iomapd.cache.inode import Inode
    from iomapd.control.marks import Marks

FlushPages = Callable[[int, int, int], Awaitable[None]]
"""``(ino, start, end)``: write back what the kernel has cached of ``[start, end)``, bytes."""


async def seek_data(marks: Marks, inode: Inode, pos: int, flush: FlushPages | None) -> int:
    """Return the first position from *pos* on that holds data, bytes.

    Args:
        marks: of the mount.
        inode: a regular file.
        pos: where to begin.
        flush: None when nobody can have a dirty mapping.

    Raises:
        OSError: ENXIO, there is no data, or *pos* is not inside the file.
    """
    while True:
        _check_inside(inode, pos)
        written, end = _span(marks, inode, pos)
        if written:
            return pos
        if flush is not None:
            await flush(inode.ino, pos, end)
            if (written, end) != _span(marks, inode, pos):
                continue
        if end >= inode.size:
            raise _nothing(pos)
        return end


async def seek_hole(marks: Marks, inode: Inode, pos: int, flush: FlushPages | None) -> int:
    """Return the first position from *pos* on that is in a hole; EOF is one.

    Raises:
        OSError: ENXIO, *pos* is not inside the file.
    """
    _check_inside(inode, pos)
    while pos < inode.size:
        written, end = _span(marks, inode, pos)
        if written:
            pos = end
            continue
        if flush is None:
            return pos
        await flush(inode.ino, pos, end)
        if not _span(marks, inode, pos)[0]:
            break
    return min(pos, inode.size)


def _span(marks: Marks, inode: Inode, pos: int) -> tuple[bool, int]:
    """Tell whether *pos* is written, and up to where, EOF at most."""
    written, end = marks.of(inode).span(pos)
    return written, inode.size if end is None else min(end, inode.size)


def _check_inside(inode: Inode, pos: int) -> None:
    if not 0 <= pos < inode.size:
        raise _nothing(pos)


def _nothing(pos: int) -> OSError:
    return OSError(errno.ENXIO, f"no data from {pos} on")
