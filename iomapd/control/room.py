# SPDX-License-Identifier: MIT
"""Room for files: allocation with its ladder, cutting, trimming, deleting.

When room runs short, in this order: a durability point (what was freed becomes
free), then every file's speculation is trimmed, then whatever strips are left,
down to single blocks; only then ENOSPC.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from iomapd.abi.units import BLOCK
from iomapd.control.policy import Need, wanted
from iomapd.control.slowpath import FILE_END
from iomapd.errors import BadMappingError, ProgramError, StoreError
from iomapd.geometry.ranges import round_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from iomapd.cache.inode import Inode
    from iomapd.control.core import Core
    from iomapd.control.freespace import Space
    from iomapd.control.points import Points
    from iomapd.mapping.extent import Extent

log = logging.getLogger(__name__)


class Room:
    """Gives and takes back the extents of files."""

    def __init__(self, core: Core, points: Points) -> None:
        self._core = core
        self._points = points
        self._ladder = trio.Lock()

    async def allocate(self, inode: Inode, start: int, end: int, *, exactly: bool = False) -> int:
        """Make extents for every hole in ``[start, end)`` (bytes, block aligned).

        Args:
            inode: a regular file, shown by the caller.
            start: first byte.
            end: one past the last byte.
            exactly: make nothing ahead of need, and nothing around it.

        Returns:
            One past what is covered from *start* on: *end*, or less when the
            volume is full.
        """
        if not self._fill(inode, start, end, exactly):
            return end
        async with self._ladder:
            if not self._fill(inode, start, end, exactly):
                return end
            await self._points.make()
            if self._fill(inode, start, end, exactly):
                await self.trim_all()
                self._fill(inode, start, end, exactly)
        for low, _, extent in self._core.slow.ranges(inode.ino, start, end):
            if extent is None:
                return low
        return end

    def _fill(self, inode: Inode, start: int, end: int, exactly: bool) -> bool:
        """Fill holes as far as room goes; tell whether some are left."""
        short, pos = False, start
        while pos < end:
            # Looked up anew each time: what was made may reach beyond its hole.
            ranges = self._core.slow.ranges(inode.ino, pos, end)
            hole = next(((low, high) for low, high, extent in ranges if extent is None), None)
            if hole is None:
                break
            made = self._make(inode, *hole, exactly=exactly)
            short |= not made or made[-1].end < hole[1]
            pos = hole[1]
        return short

    def _make(self, inode: Inode, start: int, end: int, *, exactly: bool) -> list[Extent]:
        core = self._core
        layout = core.layouts[inode.layout]
        around = core.slow.hole_around(inode.ino, start)
        # Only what is appended or surrounded by a file's data is given more than it asks for.
        size = 0 if exactly else inode.size
        need = Need(start, end, *around, size, core.space.free)
        width = min(layout.width or len(core.members), len(core.members))
        made: list[Extent] = []
        for wish in wanted(need, layout, width):
            made.extend(core.maker.make(inode.ino, wish, layout))
            if not made or made[-1].end < wish.end:
                break
        if made:
            try:
                with core.operation():
                    core.store.space.put_extents(made)
            except BaseException:
                core.space.release(space for extent in made for space in extent.spaces())
                raise
            core.slow.publish(made)
            core.publisher.renew(inode, start)
            inode.ahead |= any(extent.speculative for extent in made)
        return made

    # -- giving back

    def cut(self, inode: Inode, end: int) -> tuple[list[Extent], list[Extent], list[Space]]:
        """Plan to free what lies beyond *end* (bytes): extents gone, extents kept shorter, space.

        Whole rows only, and whole extents of programs that are not prefix programs.
        """
        extents = self._core.store.space.extents(inode.ino, end, FILE_END, -1)
        for extent in extents:
            self._core.slow.check(extent)
        return plan_cut(extents, end, self._core.programs.can_cut)

    def publish_cut(self, inode: Inode, end: int, gone: list[Extent], kept: list[Extent]) -> None:
        """Make a committed cut visible; the inode is held."""
        self._core.publisher.unpublish(inode)
        self._core.marks.drop(inode, gone)
        self._core.cache.invalidate(inode.ino, end // BLOCK * BLOCK, FILE_END)
        for extent in kept:
            self._core.cache.invalidate(inode.ino, extent.offset, FILE_END)
        self._core.slow.publish(kept)

    async def trim(self, inode: Inode) -> None:
        """Free speculative extents beyond what *inode* needs.

        What is freed was never written, so no crash can bring it back and it is
        free at once.  Lanes are kept out, and ask again for what they miss afterwards; tasks
        that write are in ``first_writes`` and count as need.
        """
        async with self._core.gate.quiet(inode):
            self.trim_quiet(inode)

    def trim_quiet(self, inode: Inode) -> None:
        """As `trim`; no lane works on *inode*."""
        inode.ahead = False
        self._settle(inode, self._core.store.space.speculative(inode.ino), 0)

    async def keep(self, inode: Inode, start: int, end: int) -> None:
        """Let no later trim take ``[start, end)``: what is speculative there stays, no more."""
        async with self._core.gate.quiet(inode):
            found = self._core.store.space.extents(inode.ino, start, end, -1)
            self._settle(inode, [e for e in found if e.speculative], end)

    def _settle(self, inode: Inode, ahead: list[Extent], needed: int) -> None:
        """Cut speculative extents at what is needed, *needed* at least; the rest is for good."""
        core = self._core
        needed = max(needed, inode.size, *(entry[1] for entry in inode.first_writes), 0)
        needed = max(needed, core.marks.of(inode).end())
        if not ahead:
            return
        for extent in ahead:
            core.slow.check(extent)
        gone, kept, spaces = plan_cut(ahead, needed, self._core.programs.can_cut)
        cut = {extent.offset for extent in gone + kept}
        settled = [e.trimmed(e.length) for e in ahead if e.offset not in cut]
        with core.operation():
            core.store.space.delete_extents(gone)
            core.store.space.put_extents(kept + settled)
        core.publisher.unpublish(inode)
        core.marks.drop(inode, gone)
        core.cache.forget(inode.ino)
        core.space.release(spaces)

    async def trim_all(self) -> None:
        """Trim the speculation of every file, open or not; one with broken rows keeps its."""
        for ino in self._core.store.space.speculative_inodes():
            with _keeping(ino):
                await self.trim(self._core.inode(ino))

    def trim_all_quiet(self) -> None:
        """As `trim_all`, while no lane runs."""
        for ino in self._core.store.space.speculative_inodes():
            with _keeping(ino):
                self.trim_quiet(self._core.inode(ino))

    def delete(self, inode: Inode) -> None:
        """Delete an inode that no name and no handle leads to, and hold its space."""
        core = self._core
        with core.operation() as op:
            for extent in core.store.space.iter_extents(inode.ino):
                op.held.extend(extent.spaces())
            core.store.space.delete_file(inode.ino)
            core.store.names.delete_inode(inode.ino)
        self._points.drop(inode.ino)
        core.cache.forget(inode.ino)
        core.table.drop(inode.ino)


@contextmanager
def _keeping(ino: int) -> Iterator[None]:
    """Leave an inode's speculation alone when its rows are broken."""
    try:
        yield
    except (BadMappingError, ProgramError, StoreError, OSError) as exc:
        log.error("inode %s keeps what was made ahead of need: %s", ino, exc)


def plan_cut(
    extents: Iterable[Extent], end: int, can_cut: Callable[[Extent], bool]
) -> tuple[list[Extent], list[Extent], list[Space]]:
    """Split *extents* at *end* (bytes): ``(gone, kept shorter, freed space)``.

    Extents that *can_cut* are cut after a row, the others stay or go whole.
    """
    gone: list[Extent] = []
    kept: list[Extent] = []
    spaces: list[Space] = []
    for extent in extents:
        keep = round_up(max(0, end - extent.offset), extent.row)
        if keep >= extent.length:
            continue
        if keep == 0:
            gone.append(extent)
            spaces.extend(extent.spaces())
            continue
        if not can_cut(extent):
            continue
        shorter = extent.trimmed(keep)
        kept.append(shorter)
        spaces.extend(
            (strip.member, (strip.addr + shorter.strip_alloc, strip.addr + extent.strip_alloc))
            for strip in extent.strips
        )
    return gone, kept, spaces
