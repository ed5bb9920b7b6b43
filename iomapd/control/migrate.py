# SPDX-License-Identifier: MIT
"""Migration: a file moves into another layout, a chunk at a time, while it is in use.

    make     extents of the new layout for the chunk; their space is taken, nothing is committed
    copy     what is written, from the old places to the new ones
    flush    the members that were written
    commit   the new extents instead of the old ones, in one transaction

All of it under HOLD, so requests for the file wait for one chunk at most.  Between chunks the
file lies in extents of both layouts, and each says where: whoever stops there, for whatever
reason, may go on later or leave it.  The old space is held until a durability point has passed
and the new bytes are flushed before the commit: a power cut finds the old place or the new one,
with the same bytes in it.
"""

from __future__ import annotations

import errno
import stat
from bisect import bisect_right
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from iomapd.abi.units import BLOCK
from iomapd.control.buffers import BufferPool
from iomapd.control.core import no_entry
from iomapd.control.policy import Need, wanted
from iomapd.control.punch import can_stand, plan_punch, rest_of
from iomapd.control.slowpath import FILE_END
from iomapd.dataplane.pieces import gather
from iomapd.errors import MemberError, SpaceError, UsageError
from iomapd.geometry.ranges import RangeSet, round_down

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from iomapd.cache.inode import Inode
    from iomapd.control.core import Core
    from iomapd.control.points import Points
    from iomapd.control.punch import Plan
    from iomapd.control.room import Room
    from iomapd.dataplane.engine import Piece
    from iomapd.dataplane.pieces import Run
    from iomapd.mapping.extent import Extent
    from iomapd.meta.records import LayoutRecord

STEP: Final = 256 << 20
"""Bytes moved at a time: half a second in memory, some seconds on disks."""

PIECE: Final = 1 << 20  # bytes copied at a time
_LOOKED_AT: Final = 4096  # extents per step
_CUTS_TRIED: Final = 1024
_UNITS_COMPARED: Final = 1 << 20  # less work than moving what cannot be cut


@dataclass(frozen=True, slots=True)
class Step:
    """What came of one step; bytes.

    Attributes:
        pos: where the next step begins.
        end: where the file's space ends.
        moved: space that was moved; copied: the written part of it.
        done: nothing is left to move.
    """

    pos: int
    end: int
    moved: int
    copied: int
    done: bool


class Chunk(NamedTuple):
    """What one step moves: *old* extents up to *end*, which may lie inside the last of them."""

    old: list[Extent]
    end: int

    def ranges(self) -> RangeSet:
        """Return the file ranges that move."""
        return RangeSet((e.offset, min(e.end, self.end)) for e in self.old)


class Migrator:
    """Moves files between layouts.

    Args:
        core: the mount's state.
        points: makes held space free when room is short.
        room: takes back what was made ahead of need.
    """

    def __init__(self, core: Core, points: Points, room: Room) -> None:
        self._core = core
        self._points = points
        self._room = room
        self._buffers = BufferPool()

    async def step(self, inode: Inode, target: int, pos: int, limit: int = STEP) -> Step:
        """Move the next extents that are not of layout *target*.

        Args:
            inode: a regular file.
            target: id of the layout it is to have; what is made for it later has it, too.
            pos: where to begin, from the step before.
            limit: most bytes to move; one extent that cannot be divided may be more.

        Raises:
            OSError: EROFS; EIO, a flush of the file's data has failed; ESTALE, it is gone.
            SpaceError: there is no room for a second copy of the chunk.
            MemberError: a member failed.
        """
        core = self._core
        if not stat.S_ISREG(inode.mode):
            raise UsageError("only regular files can be migrated")
        if core.read_only:
            raise OSError(errno.EROFS, "the mount is read-only")
        async with core.gate.holding(inode):
            if core.table.peek(inode.ino) is not inode:
                raise no_entry(inode.ino)
            if inode.failed:
                raise OSError(errno.EIO, f"inode {inode.ino}: some of its data is not durable")
            # From here on nothing of it is speculative: who makes extents must show the inode.
            self._room.trim_quiet(inode)
            found = core.store.space.of_other_layouts(inode.ino, target, pos, _LOOKED_AT)
            if not found:
                return self._finish(inode, target, pos)
            for extent in found:
                core.slow.check(extent)
            chunk, made = await self._make(inode, found, core.layouts[target], limit)
            return await self._move(inode, chunk, made, target)

    def _finish(self, inode: Inode, target: int, pos: int) -> Step:
        if inode.layout != target:
            with self._core.operation() as op:
                op.change(inode, layout=target)
        return Step(pos, max(pos, inode.size), 0, 0, done=True)

    # -- make

    async def _make(
        self, inode: Inode, found: list[Extent], layout: LayoutRecord, limit: int
    ) -> tuple[Chunk, list[Extent]]:
        """Decide what to move, as far as room goes, and make extents for it."""
        width = min(layout.width or len(self._core.members), len(self._core.members))
        cut = partial(self._cut, row=layout.unit * width)
        chunk = chunk_of(found, limit, cut)
        made = self._try_make(inode, chunk, layout, width)
        if made is None:
            # What the steps before have freed comes back with a point.
            await self._points.make()
            await self._room.trim_all()
            made = self._try_make(inode, chunk, layout, width)
        while made is None:
            size = chunk.ranges().total()
            chunk = chunk_of(found, size // 2, cut)
            if chunk.ranges().total() >= size:
                raise SpaceError(
                    f"no room to move {size} B at {chunk.old[0].offset}: migrating needs space "
                    f"for a second copy, and {self._core.space.free} B are free"
                )
            made = self._try_make(inode, chunk, layout, width)
        return chunk, made

    def _try_make(
        self, inode: Inode, chunk: Chunk, layout: LayoutRecord, width: int
    ) -> list[Extent] | None:
        """Make extents for all of *chunk*, nothing committed; None when room runs out."""
        core = self._core
        made: list[Extent] = []
        try:
            for start, end in chunk.ranges():
                need = Need(start, end, start, end, 0, core.space.free)
                for wish in wanted(need, layout, width):
                    made.extend(core.maker.make(inode.ino, wish, layout))
                    if not made or made[-1].end < wish.end:
                        self._release(made)
                        return None
        except BaseException:
            self._release(made)
            raise
        return made

    def _release(self, made: list[Extent]) -> None:
        self._core.space.release(space for extent in made for space in extent.spaces())

    def _cut(self, extent: Extent, most: int, row: int) -> int:
        """Return how many of the first bytes of *extent* can go alone, up to *most*; 0: none.

        Best a multiple of *row* in the file, where new rows begin.
        """
        largest = round_down(min(most, extent.length - 1), extent.row)
        lengths = range(largest, 0, -extent.row)
        aligned = (n for n in lengths[:_CUTS_TRIED] if (extent.offset + n) % row == 0)
        length = next(aligned, largest)
        if length > 0 and can_stand(
            self._core, extent, rest_of(extent, length), most=_UNITS_COMPARED
        ):
            return length
        return 0

    # -- move

    async def _move(self, inode: Inode, chunk: Chunk, made: list[Extent], target: int) -> Step:
        core = self._core
        plan = plan_punch(chunk.old, 0, chunk.end, lambda _: False, lambda *_: True)
        try:
            copied = await self._copy(inode, chunk, made)
            self._commit(inode, plan, made, target)
        except BaseException:
            self._release(made)
            raise
        self._show(inode, plan, chunk.old, made)
        space = core.store.space
        return Step(
            chunk.end,
            max(space.end_before(inode.ino, FILE_END), inode.size),
            chunk.ranges().total(),
            copied,
            done=not space.of_other_layouts(inode.ino, target, chunk.end, 1),
        )

    async def _copy(self, inode: Inode, chunk: Chunk, made: list[Extent]) -> int:
        """Copy the written blocks and flush them; return how many bytes there were."""
        core, copied, members = self._core, 0, set[int]()
        old, new = _Places(core, chunk.old), _Places(core, made)
        written = core.marks.of(inode)
        parts = [part for span in chunk.ranges() for part in written.intersect(*span)]
        for low, high in parts:
            for start in range(low, high, PIECE):
                end = min(start + PIECE, high)
                with self._buffers.lent(end - start) as buffer:
                    await core.io.read(old.runs(start, end), buffer)
                    runs = new.runs(start, end)
                    await core.io.write(runs, buffer)
                members.update(run.member for run in runs)
                copied += end - start
                # What the page cache has is copied without waiting: others want to go on, too.
                await trio.lowlevel.checkpoint()
        if failed := await core.io.flush(members):
            raise MemberError(f"what was moved is not durable on member(s) {sorted(failed)}")
        return copied

    def _commit(self, inode: Inode, plan: Plan, made: list[Extent], target: int) -> None:
        space = self._core.store.space
        with self._core.operation() as op:
            space.delete_extents(plan.gone)
            space.put_extents([*plan.kept, *made])
            # A change of the inode in any case: fdatasync must know of a commit that is not
            # durable, or what it flushes would lie where nobody looks after a power cut.
            op.change(inode, layout=target)
            op.held.extend(plan.spaces)

    def _show(self, inode: Inode, plan: Plan, old: list[Extent], made: list[Extent]) -> None:
        """Let requests find what is committed; the inode is held."""
        core, there = self._core, [*plan.kept, *made]
        core.publisher.unpublish(inode)
        core.marks.replace(inode, old, there)
        for start, end in plan.forgotten:
            core.cache.invalidate(inode.ino, start, end)
        core.slow.publish(there)


class _Places:
    """Where the bytes of some extents of one file lie."""

    def __init__(self, core: Core, extents: list[Extent]) -> None:
        self._core = core
        self._extents = sorted(extents, key=lambda e: e.offset)
        self._starts = [e.offset for e in self._extents]

    def runs(self, start: int, end: int) -> list[Run]:
        """Return the member I/O of ``[start, end)``, all of it inside, for a buffer of its own."""
        return gather(self._pieces(start, end), start)

    def _pieces(self, start: int, end: int) -> Iterator[Piece]:
        while start < end:
            extent = self._extents[bisect_right(self._starts, start) - 1]
            words, stop = self._core.slow.encode(extent), min(end, extent.end)
            while start < stop:
                found = self._core.engine.pieces(words, start, stop)
                yield from found
                start = found[-1][3]


def chunk_of(found: list[Extent], limit: int, cut: Callable[[Extent, int], int]) -> Chunk:
    """Return the first of *found* (at least one, in order) that make *limit* bytes.

    Args:
        found: extents to move.
        limit: bytes; a first extent that cannot be cut is taken whole.
        cut: how many of the first bytes of an extent, up to so many, can go alone; 0: none.
    """
    old: list[Extent] = []
    end = 0
    for extent in found:
        if extent.length > limit:
            length = cut(extent, limit) if limit >= BLOCK else 0
            if length or not old:
                old.append(extent)
                end = extent.offset + (length or extent.length)
            break
        old.append(extent)
        end = extent.end
        limit -= extent.length
    return Chunk(old, end)
