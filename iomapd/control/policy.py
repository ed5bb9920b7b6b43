# SPDX-License-Identifier: MIT
"""Which extents to make for a hole that is about to be written.

    |<-- row 0 -->|<-- row 1 -->|<-- row 2 -->|      row = unit x width
    [s][s][s][s]  [   wide, whole rows ...    ]      s = single strip, <= one unit

  - A file's last, partial row is made of single strips, 4 KiB-granular, each on
    the next member: a small file costs what it holds, and still spreads.
  - Rows that a write fills, and holes inside a file beyond its first row, get
    whole rows on all members.
  - A file that grows by appending gets as much again as it has, between
    strip_min and strip_max per strip, at most 1/8 of what is free: a GiB asks a
    handful of times.  What was too much is trimmed at last close and at mount.

`wanted` decides ranges (pure arithmetic); `Maker` turns a range into extents,
narrower and shorter as room runs out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from iomapd.abi.units import BLOCK
from iomapd.geometry.ranges import round_down, round_up
from iomapd.mapping.extent import Extent, Strip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iomapd.control.freespace import FreeSpace
    from iomapd.meta.records import LayoutRecord

SPECULATION_SHARE: Final = 8  # at most 1/8 of the free space is made ahead of need


class Wish(NamedTuple):
    """A range to fill: with whole rows if *wide*, else with single strips; bytes."""

    start: int
    end: int
    wide: bool
    speculative: bool = False


@dataclass(frozen=True, slots=True)
class Need:
    """What a write misses.

    Attributes:
        start, end: the hole's part under the write, bytes, block aligned.
        hole_start, hole_end: the whole hole around it.
        size: file size before the write.
        free: bytes free on all members.
    """

    start: int
    end: int
    hole_start: int
    hole_end: int
    size: int
    free: int


def wanted(need: Need, layout: LayoutRecord, width: int) -> list[Wish]:
    """Return the ranges to fill for *need*, in order, covering it.

    Args:
        need: see `Need`.
        layout: unit and strip bounds, bytes.
        width: strips of a full row, > 0.
    """
    row = layout.unit * width
    tail = need.end >= need.size
    if tail and need.start <= round_up(need.size, BLOCK) and need.size >= row:
        return _append(need, layout, row)
    if tail and need.size > 0 and need.start == round_up(need.size, BLOCK) and need.end <= row:
        # Small appends: the rest of the unit at once, or each would be an extent.
        end = max(need.end, min(round_up(need.end, layout.unit), need.hole_end))
        return [Wish(need.start, end, wide=False, speculative=end > need.end)]
    wishes: list[Wish] = []
    start, end = need.start, need.end
    if start % row:
        boundary = round_up(start, row)
        if need.hole_start <= boundary - row and boundary <= need.hole_end and not tail:
            start = boundary - row  # a hole inside the file: its whole row
        else:
            wishes.append(Wish(start, min(end, boundary), wide=False))
            start = min(end, boundary)
    middle = round_down(end, row)
    if end % row and not tail and middle + row <= need.hole_end and middle >= start:
        middle += row
        end = middle
    if start < middle:
        wishes.append(Wish(start, middle, wide=True))
        start = middle
    if start < end:
        wishes.append(Wish(start, end, wide=False))
    return wishes


def _append(need: Need, layout: LayoutRecord, row: int) -> list[Wish]:
    """Grow an appended file: finish its row in single strips, then rows ahead of need."""
    wishes: list[Wish] = []
    start = need.start
    if start % row:
        boundary = min(round_up(start, row), need.hole_end)
        wishes.append(Wish(start, min(boundary, round_up(need.end, BLOCK)), wide=False))
        start = wishes[-1].end
    if start >= need.end:
        return wishes
    strip = round_down(need.size // (row // layout.unit), layout.unit)
    strip = min(max(strip, layout.strip_min), layout.strip_max)
    ahead = min(strip * (row // layout.unit), round_down(need.free // SPECULATION_SHARE, row))
    end = max(round_up(need.end, row), start + ahead)
    end = min(end, round_down(need.hole_end - start, row) + start)
    if end > start:
        wishes.append(Wish(start, end, wide=True, speculative=end > need.end))
        start = end
    if start < need.end:
        wishes.append(Wish(start, need.end, wide=False))
    return wishes


class Prover(Protocol):
    """What is asked of the volume's programs when extents are made."""

    def is_prefix(self, layout: int) -> bool:
        """Tell whether extents of *layout* may be larger than asked and trimmed."""

    def serves(self, layout: LayoutRecord, nr_strips: int, strip_length: int, seed: int) -> bool:
        """Prove the map of an extent; False when the program declines its geometry."""


class Maker:
    """Takes strips from free space and makes extents of them.

    Args:
        space: where strips come from.
        members: member ids in member order.
        programs: proves the map of an extent before it is made.
    """

    def __init__(self, space: FreeSpace, members: list[int], programs: Prover) -> None:
        self._space = space
        self._members = members
        self._programs = programs

    def make(self, ino: int, wish: Wish, layout: LayoutRecord) -> Iterator[Extent]:
        """Yield extents that cover *wish* from its start; fewer when room runs out.

        Every extent yielded owns its space; the caller commits or releases it.
        """
        start = wish.start
        while start < wish.end:
            extent = None
            if wish.wide:
                extent = self._wide(ino, start, wish, layout)
            extent = extent or self._single(ino, start, wish, layout)
            if extent is None:
                return
            yield extent
            start = extent.end

    def _width(self, layout: LayoutRecord) -> int:
        return min(layout.width or len(self._members), len(self._members))

    def _wide(self, ino: int, start: int, wish: Wish, layout: LayoutRecord) -> Extent | None:
        width = self._width(layout)
        if width == 1:
            return None
        # Fixed extents are freed whole: so they are kept small.
        longest = layout.strip_max if self._programs.is_prefix(layout.id) else layout.strip_min
        strip = round_down(-(-(wish.end - start) // width), layout.unit)
        strip = min(max(strip, layout.unit), longest)
        while strip >= layout.unit:
            nr_strips = self._served(layout, min(width, (wish.end - start) // strip), strip, ino)
            strips = self._strips(ino, strip, nr_strips)
            # Fewer members had room than the program serves: does it serve these?
            if len(strips) > 1 and self._served(layout, len(strips), strip, ino) == len(strips):
                return Extent(
                    ino, start, strip * len(strips), layout.id, layout.unit, ino, strip, strip,
                    tuple(strips), wish.speculative,
                )  # fmt: skip
            self._give_back(strips, strip)
            strip = round_down(strip // 2, layout.unit)
        return None

    def _served(self, layout: LayoutRecord, nr_strips: int, strip: int, seed: int) -> int:
        """Return the most strips, up to *nr_strips*, that the program serves; 1 needs none."""
        while nr_strips > 1 and not self._programs.serves(layout, nr_strips, strip, seed):
            nr_strips -= 1
        return nr_strips

    def _strips(self, ino: int, length: int, width: int) -> list[Strip]:
        strips: list[Strip] = []
        for member in self._rotated(ino):
            if len(strips) == width:
                break
            addr = self._space.members[member].take_low(length)
            if addr is not None:
                strips.append(Strip(member, addr))
        return strips

    def _single(self, ino: int, start: int, wish: Wish, layout: LayoutRecord) -> Extent | None:
        width = self._width(layout)
        # One member has nothing to spread over: its strips are as long as wished.
        limit = layout.strip_max if width == 1 else layout.unit - start % layout.unit
        length = min(wish.end - start, limit)
        # The members that the file's wide rows have come first, the others when these are full.
        order = self._rotated(ino)
        turn = start // layout.unit % width
        order = order[turn:width] + order[:turn] + order[width:]
        while length >= BLOCK:
            for member in order:
                take = self._space.members[member]
                addr = take.take_low(length) if length > layout.unit else take.take_high(length)
                if addr is not None:
                    return Extent(
                        ino, start, length, layout.id, layout.unit, ino, length, length,
                        (Strip(member, addr),), wish.speculative,
                    )  # fmt: skip
            length = round_down(length // 2, BLOCK)
        return None

    def _rotated(self, by: int) -> list[int]:
        first = by % len(self._members)
        return self._members[first:] + self._members[:first]

    def _give_back(self, strips: list[Strip], length: int) -> None:
        self._space.release((s.member, (s.addr, s.addr + length)) for s in strips)
