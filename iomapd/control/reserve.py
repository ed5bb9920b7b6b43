# SPDX-License-Identifier: MIT
"""fallocate(2): space that is there before data is.

Preallocated space is extents without marks: it reads as zeros and costs no I/O.  It is not
speculative, so nobody trims it; beyond EOF it goes with the next truncate or with the file.
"""

from __future__ import annotations

import errno
import itertools
from typing import TYPE_CHECKING, Final

import trio

from iomapd.abi.units import BLOCK
from iomapd.control.points import touch
from iomapd.control.slowpath import FILE_END
from iomapd.errors import SpaceError
from iomapd.geometry.ranges import round_down, round_up

if TYPE_CHECKING:
    from iomapd.cache.inode import Inode
    from iomapd.control.core import Core
    from iomapd.control.files import Files
    from iomapd.control.points import Points
    from iomapd.control.punch import Puncher
    from iomapd.control.room import Room

STEP: Final = 1 << 30  # bytes made between two looks at who else waits


class Reserver:
    """Preallocates, and zeroes ranges whose space stays.

    Args:
        core: the mount's state.
        points: makes held space free when room is short.
        room: makes extents.
        files: raises sizes.
        puncher: zeroes.
    """

    def __init__(
        self, core: Core, points: Points, room: Room, files: Files, puncher: Puncher
    ) -> None:
        self._core = core
        self._points = points
        self._room = room
        self._files = files
        self._puncher = puncher

    async def allocate(self, inode: Inode, pos: int, length: int, *, keep_size: bool) -> None:
        """Make room for ``[pos, pos + length)``, so that writing there finds no full volume.

        Args:
            inode: a regular file.
            pos: first byte.
            length: bytes, > 0.
            keep_size: leave the size alone; else raise it to the end of the range.

        Raises:
            OSError: EFBIG, EROFS.
            SpaceError: it does not fit; nothing was made unless others took space meanwhile.
        """
        end = self._check(pos, length)
        await self._cover(inode, round_down(pos, BLOCK), round_up(end, BLOCK))
        if not keep_size:
            await self._files.extend(inode, end)
        touch(inode, data=True)

    async def zero(self, inode: Inode, pos: int, length: int, *, keep_size: bool) -> None:
        """Make room for a range, as `allocate`, and make all of it read as zeros."""
        end = self._check(pos, length)
        await self._cover(inode, round_down(pos, BLOCK), round_up(end, BLOCK))
        await self._puncher.zero(inode, pos, end)
        if not keep_size:
            await self._files.extend(inode, end)

    def _check(self, pos: int, length: int) -> int:
        if self._core.read_only:
            raise OSError(errno.EROFS, "the mount is read-only")
        if pos + length > FILE_END:
            raise OSError(errno.EFBIG, f"a range at {pos} ends beyond the largest file")
        return pos + length

    async def _cover(self, inode: Inode, low: int, high: int) -> None:
        async with self._core.gate.showing(inode):
            await self._find_space(inode, low, high)
            # Counts as need while it is made: nobody trims it away.
            entry = (low, high, False, trio.Event())
            inode.first_writes.append(entry)
            try:
                for start, end in _steps(low, high, self._row(inode)):
                    covered = await self._room.allocate(inode, start, end, exactly=True)
                    if covered < end:
                        raise SpaceError(f"no space left for inode {inode.ino} at {covered}")
                    await trio.lowlevel.checkpoint()
                await self._room.keep(inode, low, high)
            finally:
                inode.first_writes.remove(entry)
                entry[3].set()

    async def _find_space(self, inode: Inode, low: int, high: int) -> None:
        """Refuse what cannot fit before half of it is made."""
        core = self._core
        ranges = core.slow.ranges(inode.ino, low, high)
        missing = sum(end - start for start, end, extent in ranges if extent is None)
        if missing > core.space.free:
            await self._points.make()
            if missing > core.space.free:
                await self._room.trim_all()
        if missing > core.space.free:
            raise SpaceError(f"{missing} B for inode {inode.ino}; {core.space.free} B are free")

    def _row(self, inode: Inode) -> int:
        layout = self._core.layouts[inode.layout]
        return layout.unit * min(layout.width or len(self._core.members), len(self._core.members))


def _steps(low: int, high: int, row: int) -> list[tuple[int, int]]:
    """Cut a range into steps that end with a row, so that no step leaves a part of one."""
    step = round_up(STEP, row)
    inner = range(round_up(low + 1, step), high, step)
    edges = [low, *inner, high]
    return list(itertools.pairwise(edges))
