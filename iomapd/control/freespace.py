# SPDX-License-Identifier: MIT
"""Free space: the complement of the extents, in memory, per member.

There is no bitmap to disagree with the extents; this is rebuilt at mount.
Three states of a byte of a data area:

    owned   by an extent row
    held    freed, but a power cut could still bring its old owner back:
            given out again after the next durability point
    free

Wide strips are taken from the bottom, single strips from the top, so that small
files do not cut the room of large ones into pieces.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sortedcontainers import SortedDict

from iomapd.geometry.ranges import RangeSet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from iomapd.geometry.ranges import Range

Space = tuple[int, "Range"]
"""``(member id, (start, end))``, bytes in the member's data area."""


class MemberSpace:
    """Free ranges of one member; sorted, disjoint, merged; bytes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.free = 0
        self._ranges: SortedDict[int, int] = SortedDict()

    def __iter__(self) -> Iterator[Range]:
        return iter(self._ranges.items())

    def give(self, start: int, end: int) -> None:
        """Add ``[start, end)`` to the free ranges; it must not be free already."""
        assert 0 <= start < end <= self.size
        index = self._ranges.bisect_right(start)
        self.free += end - start
        if index < len(self._ranges):
            following = self._ranges.keys()[index]
            assert end <= following, f"[{start}, {end}) is freed twice"
            if end == following:
                end = self._ranges.pop(following)
        if index > 0:
            before = self._ranges.keys()[index - 1]
            assert self._ranges[before] <= start, f"[{start}, {end}) is freed twice"
            if self._ranges[before] == start:
                start = before
        self._ranges[start] = end

    def take_low(self, length: int) -> int | None:
        """Take *length* bytes from the lowest range that has them; None if none has."""
        for start, end in self._ranges.items():
            if end - start >= length:
                del self._ranges[start]
                if start + length < end:
                    self._ranges[start + length] = end
                self.free -= length
                return int(start)
        return None

    def take_high(self, length: int) -> int | None:
        """Take *length* bytes from the top of the highest range that has them."""
        for start in reversed(self._ranges):
            end = self._ranges[start]
            if end - start >= length:
                if end - length == start:
                    del self._ranges[start]
                else:
                    self._ranges[start] = end - length
                self.free -= length
                return int(end - length)
        return None

    def largest(self) -> int:
        """Return the length of the largest free range, bytes."""
        return max((end - start for start, end in self._ranges.items()), default=0)


class FreeSpace:
    """Free and held space of all members.

    Args:
        sizes: data area size in bytes by member id, in member order.

    Attributes:
        ever_held: bytes that were held since the mount, free again by now or not.
    """

    def __init__(self, sizes: dict[int, int]) -> None:
        self.members = {member: MemberSpace(size) for member, size in sizes.items()}
        self._held: list[Space] = []
        self._held_bytes = 0
        self.ever_held = 0

    @property
    def free(self) -> int:
        """Bytes that can be given out now."""
        return sum(space.free for space in self.members.values())

    @property
    def held(self) -> int:
        """Bytes that wait for a durability point."""
        return self._held_bytes

    def used(self, member: int) -> int:
        """Bytes of *member* that extents own; held ones count as free."""
        space = self.members[member]
        held = sum(end - start for owner, (start, end) in self._held if owner == member)
        return space.size - space.free - held

    def release(self, spaces: Iterable[Space]) -> None:
        """Make spaces free at once: they never held data that a crash could bring back."""
        for member, (start, end) in spaces:
            self.members[member].give(start, end)

    def hold(self, spaces: Iterable[Space]) -> None:
        """Keep freed spaces back until a durability point has passed."""
        for space in spaces:
            self._held.append(space)
            self._held_bytes += space[1][1] - space[1][0]
            self.ever_held += space[1][1] - space[1][0]

    def take_held(self) -> list[Space]:
        """Hand what is held to a durability point; it calls `release` or `hold` again."""
        taken, self._held = self._held, []
        # Still counted as held: statfs must not see it vanish during the point.
        return taken

    def settle(self, spaces: list[Space]) -> None:
        """Free what `take_held` handed out: the point that covers it has passed."""
        self._held_bytes -= sum(end - start for _, (start, end) in spaces)
        self.release(spaces)

    def unsettle(self, spaces: list[Space]) -> None:
        """Keep what `take_held` handed out held: its point failed."""
        self._held.extend(spaces)


@dataclass(slots=True)
class Doubts:
    """What a rebuild found that cannot be: with any, the volume must not be written.

    Attributes:
        sentences: one per overlap, or span outside its member.
        contested: by member id, what more than one extent owns, bytes: nobody can
            tell whose the data there is.
        called: how to call an inode.
    """

    sentences: list[str] = field(default_factory=list)
    contested: dict[int, RangeSet] = field(default_factory=lambda: defaultdict(RangeSet))
    called: Callable[[int], str] = "inode {}".format

    def add(self, ino: int, fault: str) -> None:
        """Take in what is wrong with one extent of *ino*."""
        self.sentences.append(f"{self.called(ino)}: {fault}")

    def contest(self, one: int, other: int, member: int, space: Range) -> None:
        """Take in that two inodes own the same space."""
        start, end = space
        both = f"{self.called(one)} and {self.called(other)}"
        self.sentences.append(f"{both} both own [{start}, {end}) of member {member}")
        self.contested[member].add(start, end)


def rebuild(
    sizes: dict[int, int], owned: Iterable[tuple[int, int, Range]], doubts: Doubts
) -> FreeSpace:
    """Compute free space as the complement of what extents own.

    Args:
        sizes: data area size in bytes by member id.
        owned: ``(ino, member id, (start, end))`` of every strip.
        doubts: what is found on the way.
    """
    taken: dict[int, list[tuple[int, int, int]]] = {member: [] for member in sizes}
    for ino, member, (start, end) in owned:
        if member not in sizes or not 0 <= start < end <= sizes[member]:
            doubts.add(ino, f"owns [{start}, {end}) outside member {member}")
        else:
            taken[member].append((start, end, ino))
    space = FreeSpace(sizes)
    for member, ranges in taken.items():
        ranges.sort()
        at, holder = 0, 0
        for start, end, ino in ranges:
            if start < at:
                doubts.contest(holder, ino, member, (start, min(at, end)))
            elif at < start:
                space.members[member].give(at, start)
            if end > at:
                at, holder = end, ino
        if at < sizes[member]:
            space.members[member].give(at, sizes[member])
    return space
