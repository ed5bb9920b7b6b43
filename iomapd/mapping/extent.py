# SPDX-License-Identifier: MIT
"""An extent: where a range of a file may live.  Geometry only.

An extent is a set of *strips*, equal-length contiguous pieces, one per chosen
member (famfs's interleaved extent; btrfs's raid0 chunk).  It never says what is
written: content is kept apart, in 4 KiB blocks of the file.

    offset, length   the file range, bytes
    strip_length     length of a strip as the program sees it, fixed when made
    strip_alloc      length of a strip that is still owned, <= strip_length
    strips           (member id, addr in its data area) per strip

An extent of one strip is linear and asks no program.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from iomapd.abi.units import BLOCK, MAX_FILE_SIZE
from iomapd.errors import BadMappingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iomapd.geometry.ranges import Range


@dataclass(frozen=True, slots=True)
class Strip:
    """One contiguous piece of a member: *member* is its id, *addr* bytes into its data area."""

    member: int
    addr: int


@dataclass(frozen=True, slots=True)
class Extent:
    """Geometry of a file range; immutable, see the module's table.

    Attributes:
        ino: the inode that owns it.
        offset: file offset, bytes; a multiple of `BLOCK`.
        length: file range, bytes; ``strip_alloc * len(strips)``.
        layout: id of the layout row that made it.
        unit: stripe unit of that layout, bytes.
        seed: what the program gets as ``seed``: the ino that made the extent.
        strip_length: bytes, fixed for life.
        strip_alloc: bytes still owned per strip.
        strips: one per chosen member.
        speculative: made ahead of need; trimmed at last close and at mount.
    """

    ino: int
    offset: int
    length: int
    layout: int
    unit: int
    seed: int
    strip_length: int
    strip_alloc: int
    strips: tuple[Strip, ...]
    speculative: bool = False

    @property
    def end(self) -> int:
        """One past the last byte of the file range."""
        return self.offset + self.length

    @property
    def row(self) -> int:
        """Bytes of one row: a unit on every strip; for one strip, a block."""
        return self.unit * len(self.strips) if len(self.strips) > 1 else BLOCK

    def trimmed(self, length: int) -> Extent:
        """Return the extent cut to its first *length* bytes, a positive multiple of `row`.

        Only valid for prefix programs (raid0 is one): the first rows of the
        file live in the first units of every strip.
        """
        return replace(
            self, length=length, strip_alloc=length // len(self.strips), speculative=False
        )

    def spaces(self) -> Iterator[tuple[int, Range]]:
        """Yield ``(member id, (start, end))`` of everything the extent owns."""
        for strip in self.strips:
            yield strip.member, (strip.addr, strip.addr + self.strip_alloc)


def check_extent(extent: Extent, data_size_of: dict[int, int]) -> None:
    """Check an extent row against every rule that has a meaning for geometry.

    Args:
        extent: the row, as read from the store or about to be written there.
        data_size_of: data area size in bytes by member id.

    Raises:
        BadMappingError: naming inode, offset, value and rule.
    """
    for ok, rule in _rules(extent):
        if not ok:
            raise BadMappingError(f"extent of inode {extent.ino} at {extent.offset}: {rule}")
    for strip in extent.strips:
        size = data_size_of.get(strip.member)
        if size is None:
            raise BadMappingError(
                f"extent of inode {extent.ino} at {extent.offset}: no member has id {strip.member}"
            )
        # The span, not the start, and in an order that cannot overflow.
        if strip.addr < 0 or extent.strip_alloc > size or strip.addr > size - extent.strip_alloc:
            raise BadMappingError(
                f"extent of inode {extent.ino} at {extent.offset}: strip at {strip.addr} of "
                f"{extent.strip_alloc} B leaves the {size} B data area of member {strip.member}"
            )


def _rules(extent: Extent) -> Iterator[tuple[bool, str]]:
    nr_strips = len(extent.strips)
    yield nr_strips > 0, "no strips"
    yield extent.length > 0, f"length {extent.length} is not positive"
    yield extent.offset >= 0, f"offset {extent.offset} is negative"
    yield extent.offset % BLOCK == 0, f"offset {extent.offset} is not a multiple of {BLOCK}"
    yield extent.length % BLOCK == 0, f"length {extent.length} is not a multiple of {BLOCK}"
    yield (
        extent.offset <= MAX_FILE_SIZE + 1 - extent.length,
        f"offset + length {extent.offset + extent.length} is beyond the largest file",
    )
    yield extent.unit > 0 and extent.unit % BLOCK == 0, f"unit {extent.unit} is no block multiple"
    yield (
        extent.strip_alloc * nr_strips == extent.length,
        f"length {extent.length} is not {nr_strips} strips of {extent.strip_alloc}",
    )
    yield (
        0 < extent.strip_alloc <= extent.strip_length,
        f"strip_alloc {extent.strip_alloc} is not in 1..{extent.strip_length}",
    )
    yield (
        nr_strips == 1 or extent.strip_alloc % extent.unit == 0,
        f"strip_alloc {extent.strip_alloc} is not a multiple of the unit {extent.unit}",
    )
    grain = extent.unit if nr_strips > 1 else BLOCK
    yield (
        extent.strip_length % grain == 0,
        f"strip_length {extent.strip_length} is not a multiple of {grain}",
    )
    yield all(s.addr % BLOCK == 0 for s in extent.strips), "a strip address is no block multiple"
    members = [s.member for s in extent.strips]
    yield len(set(members)) == nr_strips, f"members {members} repeat"
