# SPDX-License-Identifier: MIT
"""Punching holes: a range reads as zeros again and gives back its space.

    partial blocks at the edges    zeros are written over them
    whole blocks                   lose their marks, in the store and in memory
    extents, as far as they can    go: whole, their last rows, or a middle between two

All of it under HOLD; what changes the store is one transaction.  A server killed before the
reply may leave any mix of old bytes and zeros in the range, never afterwards: both the store and
the shared bitmaps have forgotten the marks when the caller learns that it is done.  Freed space
is held until the next durability point, as after a truncate.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from iomapd.abi.units import BLOCK
from iomapd.control.core import now_ns
from iomapd.control.points import touch
from iomapd.control.slowpath import FILE_END
from iomapd.geometry.ranges import round_down, round_up
from iomapd.mapping.extent import Strip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from iomapd.cache.inode import Inode
    from iomapd.control.core import Core
    from iomapd.control.files import Files
    from iomapd.control.freespace import Space
    from iomapd.control.points import Points
    from iomapd.mapping.extent import Extent

UNITS_COMPARED: Final = 1 << 16
"""Bound on proving that the rest of an extent can stand alone; beyond it the space stays."""


class Puncher:
    """Zeroes ranges of files.

    Args:
        core: the mount's state.
        points: told of marks that are gone.
        files: writes zeros.
    """

    def __init__(self, core: Core, points: Points, files: Files) -> None:
        self._core = core
        self._points = points
        self._files = files

    async def punch(self, inode: Inode, pos: int, length: int) -> None:
        """Make ``[pos, pos + length)`` a hole; the size stays.

        Raises:
            OSError: EROFS.
            MemberError: a member failed; the edges may be zeroed, nothing else has changed.
        """
        if self._core.read_only:
            raise OSError(errno.EROFS, "the mount is read-only")
        async with self._core.gate.holding(inode):
            await self._zero(inode, pos, min(pos + length, FILE_END), free=True)

    async def zero(self, inode: Inode, pos: int, end: int) -> None:
        """Make ``[pos, end)`` read as zeros and leave it its space."""
        async with self._core.gate.holding(inode):
            await self._zero(inode, pos, end, free=False)

    async def _zero(self, inode: Inode, pos: int, end: int, *, free: bool) -> None:
        low = round_up(pos, BLOCK)
        # Bytes beyond EOF are nobody's: there, part of a block is as good as all of it.
        high = round_up(end, BLOCK) if end >= inode.size else round_down(end, BLOCK)
        edges = [(pos, low), (high, end)] if low < high else [(pos, end)]
        for edge in edges:
            if edge[0] < edge[1]:
                for start, stop in self._core.marks.of(inode).intersect(*edge):
                    await self._files.zero(inode, start, stop)
        if low < high:
            self._discard(inode, low, high, free=free)
        touch(inode, data=True)

    def _discard(self, inode: Inode, low: int, high: int, *, free: bool) -> None:
        """Clear marks and free extents of whole blocks; no checkpoint in here."""
        core = self._core
        plan = self._plan(inode, low, high) if free else Plan()
        now = now_ns()
        with core.operation() as op:
            core.store.space.delete_extents(plan.gone)
            core.store.space.put_extents(plan.kept)
            core.store.space.clear_written(inode.ino, low, high)
            op.change(inode, mtime_ns=now, ctime_ns=now)
            op.held.extend(plan.spaces)
        core.marks.cut(inode, low, high)
        self._points.punch(inode.ino, low, high)
        core.publisher.unpublish(inode)
        for before, after in plan.moved:
            core.marks.move(inode, before, after)
        core.marks.drop(inode, plan.gone)
        for start, end in plan.forgotten:
            core.cache.invalidate(inode.ino, start, end)
        core.slow.publish(plan.kept)

    def _plan(self, inode: Inode, low: int, high: int) -> Plan:
        extents = self._core.store.space.extents(inode.ino, low, high, -1)
        for extent in extents:
            self._core.slow.check(extent)
        stands = partial(can_stand, self._core)
        return plan_punch(extents, low, high, self._core.programs.can_cut, stands)


@dataclass(slots=True)
class Plan:
    """What a punch does to extents.

    Attributes:
        gone: rows to delete; kept: rows to put, shorter or new.
        spaces: what becomes free.
        forgotten: file ranges whose extents are no longer what they were.
        moved: an extent, and the one that its last rows become.
    """

    gone: list[Extent] = field(default_factory=list)
    kept: list[Extent] = field(default_factory=list)
    spaces: list[Space] = field(default_factory=list)
    forgotten: list[tuple[int, int]] = field(default_factory=list)
    moved: list[tuple[Extent, Extent]] = field(default_factory=list)


def can_stand(core: Core, extent: Extent, rest: Extent, most: int = UNITS_COMPARED) -> bool:
    """Tell whether *rest*, the last rows of *extent*, maps to where *extent* maps them.

    No when that takes a look at more than *most* units.
    """
    if len(extent.strips) == 1:
        return True
    if rest.length > most * extent.unit:
        return False
    layout = core.layouts[extent.layout]
    if not core.programs.serves(layout, len(rest.strips), rest.strip_length, rest.seed):
        return False
    one, other = core.slow.encode(extent), core.slow.encode(rest)
    pos = rest.offset
    while pos < rest.end:
        mine = core.engine.pieces(one, pos, rest.end)
        if mine != core.engine.pieces(other, pos, rest.end):
            return False
        pos = mine[-1][3]
    return True


def plan_punch(
    extents: Iterable[Extent],
    low: int,
    high: int,
    can_cut: Callable[[Extent], bool],
    can_stand: Callable[[Extent, Extent], bool],
) -> Plan:
    """Plan to free what of *extents* lies in ``[low, high)`` (bytes, block aligned).

    Args:
        extents: those that meet the range.
        low: first byte.
        high: one past the last byte.
        can_cut: whether an extent may lose its last rows.
        can_stand: whether the last rows of an extent can be an extent of their own.
    """
    plan = Plan()
    for extent in extents:
        # Whole rows: the first that goes, and the first that stays behind it; from the start.
        first = round_up(max(0, low - extent.offset), extent.row)
        last = extent.length
        if high < extent.end:
            last = round_down(high - extent.offset, extent.row)
        if first >= last or (first and not can_cut(extent)):
            continue
        rest = rest_of(extent, last) if last < extent.length else None
        if rest is not None and not can_stand(extent, rest):
            continue
        _free(plan, extent, first, last, rest)
    return plan


def _free(plan: Plan, extent: Extent, first: int, last: int, rest: Extent | None) -> None:
    """Take ``[first, last)``, bytes from the extent's start, out of *extent*."""
    if first:
        head = replace(extent.trimmed(first), speculative=extent.speculative)
        plan.kept.append(head)
    else:
        plan.gone.append(extent)
    if rest is not None:
        plan.kept.append(rest)
        plan.moved.append((extent, rest))
    width = len(extent.strips)
    for strip in extent.strips:
        span = (strip.addr + first // width, strip.addr + last // width)
        plan.spaces.append((strip.member, span))
    plan.forgotten.append((extent.offset, extent.end))


def rest_of(extent: Extent, start: int) -> Extent:
    """Return the rows of *extent* from *start* on, bytes from its start, as an extent."""
    skipped = start // len(extent.strips)
    return replace(
        extent,
        offset=extent.offset + start,
        length=extent.length - start,
        strip_length=extent.strip_alloc - skipped,
        strip_alloc=extent.strip_alloc - skipped,
        strips=tuple(Strip(strip.member, strip.addr + skipped) for strip in extent.strips),
    )
