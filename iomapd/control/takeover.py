# SPDX-License-Identifier: MIT
"""Taking over what a killed server had acknowledged: its table is read into this one.

Nothing is believed that the store contradicts: an inode that is gone is left out, marks count
only inside extents that the store has.  Everything taken is dirty, so the first durability
point puts it into the store; until then the table that it came from stays.
"""

from __future__ import annotations

import logging
import stat
from typing import TYPE_CHECKING

from iomapd.abi.units import BLOCK
from iomapd.control.slowpath import FILE_END
from iomapd.geometry.ranges import round_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from iomapd.cache.heritage import LeftInode
    from iomapd.cache.inode import Inode
    from iomapd.control.core import Core

log = logging.getLogger(__name__)


def take_over(core: Core, left: Iterable[LeftInode], shrink: Callable[[Inode, int], None]) -> int:
    """Take *left* over; blocks, before serving.

    Args:
        core: the mount's state.
        left: what the server before left.
        shrink: finishes a truncate: lowers size, cuts marks and extents.

    Returns:
        How many inodes had something that the store lacked.
    """
    taken = 0
    for found in left:
        inode = core.table.get(found.ino)
        if inode is not None and stat.S_ISREG(inode.mode):
            taken += _take(core, inode, found, shrink)
    if taken:
        log.info("took over what the last server had not made durable: %d inode(s)", taken)
    return taken


def _take(core: Core, inode: Inode, found: LeftInode, shrink: Callable[[Inode, int], None]) -> bool:
    times = (found.atime_ns, found.mtime_ns, found.ctime_ns)
    same = (inode.size, inode.atime_ns, inode.mtime_ns, inode.ctime_ns) == (found.size, *times)
    if same and not found.fresh and found.shrink < 0:
        return False
    core.table.attach(inode)
    inode.atime_ns, inode.mtime_ns, inode.ctime_ns = times
    # Marks beyond the size belong to a write that was not acknowledged.
    end = min(round_up(found.size, BLOCK), FILE_END)
    for start, stop in found.fresh.intersect(0, end):
        for low, high, extent in core.slow.ranges(inode.ino, start, stop):
            if extent is not None:
                core.marks.add(inode, low, high)
    inode.size = found.size
    # Which members its data is on is no longer known: all are flushed.
    inode.touch_members(sum({core.bit_of(member.id) for member in core.members}))
    inode.note_change()
    if 0 <= found.shrink < found.size:
        shrink(inode, found.shrink)
    return True
