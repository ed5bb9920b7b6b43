# SPDX-License-Identifier: MIT
"""Do extents and content fit files, members and each other?

    every extent    obeys the rules of `mapping.extent` and its layout's bounds, belongs to
                    the regular file that made it, and meets no other extent: not in its
                    file, not on a member
    every content   row is whole blocks, apart from its neighbours, inside extents and size

Free space is the complement of the extents, so there is nothing it could
disagree with: no overlap means that the sums are right.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from iomapd.abi.units import BLOCK
from iomapd.errors import BadMappingError
from iomapd.geometry.ranges import round_up
from iomapd.mapping.extent import check_extent
from iomapd.meta.findings import Finding
from iomapd.meta.space import content_fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from iomapd.mapping.extent import Extent
    from iomapd.meta.records import ContentRecord, LayoutRecord
    from iomapd.meta.scan import Scan

CHECK = "space"


@dataclass(slots=True)
class Usage:
    """What the check counted; bytes by member id."""

    used: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    nr_extents: int = 0
    written: int = 0


def check_space(scan: Scan, usage: Usage) -> Iterator[Finding]:
    """Check extents and content.

    Args:
        scan: the store.
        usage: filled while the findings are taken.
    """
    sizes = {member.id: member.data_size for member in scan.store.members}
    owned: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    before: Extent | None = None
    homeless: set[int] = set()
    for extent in scan.extents():
        usage.nr_extents += 1
        path = scan.paths.path(extent.ino)
        if not scan.is_regular(extent.ino) and extent.ino not in homeless:
            homeless.add(extent.ino)
            yield Finding(CHECK, f"{path}: has an extent, but is no regular file", path)
        layout = scan.layouts.rows.get(extent.layout)
        if layout and (fault := _fault_of(extent, sizes, layout)):
            yield Finding(CHECK, f"{path}: {fault}", path)
        if before is not None and before.ino == extent.ino and before.end > extent.offset:
            rule = f"extents at {before.offset} and {extent.offset} overlap in the file"
            yield Finding(CHECK, f"{path}: {rule}", path)
        before = extent
        for member, (start, end) in extent.spaces():
            if 0 <= start < end <= sizes.get(member, 0):
                usage.used[member] += end - start
                owned[member].append((start, end, extent.ino))
    places = {member.id: member.index for member in scan.store.members}
    for member, spaces in owned.items():
        yield from _overlaps(places[member], spaces, scan)
    yield from _check_content(scan, usage)


def _fault_of(extent: Extent, sizes: dict[int, int], layout: LayoutRecord) -> str:
    """Say which rule an extent breaks; empty when none."""
    where = f"extent at {extent.offset}"
    try:
        check_extent(extent, sizes)
    except BadMappingError as exc:
        return str(exc)
    longest = max(layout.strip_max, layout.unit)
    if extent.strip_length > longest:
        return f"{where}: strips of {extent.strip_length} B, its layout allows {longest}"
    if extent.seed != extent.ino:
        # The seed is the ino that made it, and nothing moves extents between files.
        return f"{where}: was made by inode {extent.seed}"
    return ""


def _overlaps(index: int, spaces: list[tuple[int, int, int]], scan: Scan) -> Iterator[Finding]:
    """Space that two extents own: each would overwrite the other's bytes."""
    spaces.sort()
    reach, owner = 0, 0
    for start, end, ino in spaces:
        if start < reach:
            here, there = scan.paths.path(owner), scan.paths.path(ino)
            what = f"bytes {start} to {min(reach, end)} of member {index}"
            both = f"{here} and {there}: both own {what}"
            told = f"{here}: two of its extents own {what}" if owner == ino else both
            yield Finding(CHECK, told, there)
        if end > reach:
            reach, owner = end, ino


def _check_content(scan: Scan, usage: Usage) -> Iterator[Finding]:
    extents = _Runs(scan.extents())
    sizes = ((inode.ino, inode.size) for inode in scan.inodes())
    ino, size = 0, 0
    before: ContentRecord | None = None
    for row in scan.content():
        usage.written += row.length
        path = scan.paths.path(row.ino)
        end = row.offset + row.length
        while ino < row.ino:
            ino, size = next(sizes, (2**63, 0))
        if scan.is_told(row.ino):
            continue
        for rule in _broken_rules(row, size if ino == row.ino else None):
            yield Finding(CHECK, f"{path}: {rule}", path)
            break
        else:
            if not extents.cover(row.ino, row.offset, end):
                rule = f"bytes {row.offset} to {end} are marked written, but no extent holds them"
                yield Finding(CHECK, f"{path}: {rule}", path)
        if before is not None and before.ino == row.ino:
            previous_end = before.offset + before.length
            if previous_end >= row.offset:
                how = "overlap" if previous_end > row.offset else "touch, and are not one"
                rule = f"written ranges at {before.offset} and {row.offset} {how}"
                yield Finding(CHECK, f"{path}: {rule}", path)
        before = row


def _broken_rules(row: ContentRecord, size: int | None) -> Iterator[str]:
    if fault := content_fault(row.offset, row.length):
        yield fault
    end = row.offset + row.length
    if size is not None and end > round_up(size, BLOCK):
        yield f"bytes {row.offset} to {end} are marked written, its size is {size}"


class _Runs:
    """Extents joined to unbroken runs, walked once, in step with the content rows."""

    def __init__(self, extents: Iterable[Extent]) -> None:
        self._extents = iter(extents)
        self._next = next(self._extents, None)
        self._run = (0, 0, 0)  # ino, start, end

    def cover(self, ino: int, start: int, end: int) -> bool:
        """Tell whether one run holds ``[start, end)``; asked in (ino, start) order only."""
        while self._run[0] < ino or (self._run[0] == ino and self._run[2] <= start):
            if not self._advance():
                return False
        run_ino, run_start, run_end = self._run
        return run_ino == ino and run_start <= start and end <= run_end

    def _advance(self) -> bool:
        if (first := self._next) is None:
            return False
        end = first.end
        while (following := next(self._extents, None)) is not None:
            if following.ino != first.ino or following.offset > end:
                break
            end = max(end, following.end)
        self._next = following
        self._run = (first.ino, first.offset, end)
        return True
