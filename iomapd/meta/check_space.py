# SPDX-License-Identifier: MIT
"""Do extents and content fit files, members and each other?

    every extent    obeys the rules of `mapping.extent`, belongs to a regular file,
                    and meets no other extent: not in its file, not on a member
    every content   row is whole blocks, apart from its neighbours, inside extents

Free space is the complement of the extents, so there is nothing it could
disagree with: no overlap means that the sums are right.
"""

from __future__ import annotations

import stat
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from iomapd.abi.units import BLOCK
from iomapd.errors import BadMappingError
from iomapd.mapping.extent import check_extent
from iomapd.meta.findings import Finding, PathNames

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from iomapd.mapping.extent import Extent
    from iomapd.meta.records import ContentRecord
    from iomapd.meta.store import Store

CHECK = "space"


@dataclass(slots=True)
class Usage:
    """What the check counted; bytes by member id."""

    used: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    nr_extents: int = 0
    written: int = 0


def check_space(store: Store, paths: PathNames, usage: Usage) -> Iterator[Finding]:
    """Check extents and content.

    Args:
        store: read from beginning to end, several times.
        paths: how to call inodes.
        usage: filled while the findings are taken.
    """
    modes = {inode.ino: inode.mode for inode in store.iter_inodes()}
    sizes = {member.id: member.data_size for member in store.members}
    owned: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    before: Extent | None = None
    for extent in store.iter_extents():
        usage.nr_extents += 1
        path = paths.path(extent.ino)
        if not stat.S_ISREG(modes.get(extent.ino, 0)):
            yield Finding(CHECK, f"{path}: has an extent, but is no regular file", path)
        try:
            check_extent(extent, sizes)
        except BadMappingError as exc:
            yield Finding(CHECK, f"{path}: {exc}", path)
        if before is not None and before.ino == extent.ino and before.end > extent.offset:
            rule = f"extents at {before.offset} and {extent.offset} overlap in the file"
            yield Finding(CHECK, f"{path}: {rule}", path)
        before = extent
        for member, (start, end) in extent.spaces():
            usage.used[member] += end - start
            owned[member].append((start, end, extent.ino))
    for member, spaces in owned.items():
        yield from _overlaps(member, spaces, paths)
    yield from _check_content(store, paths, usage)


def _overlaps(
    member: int, spaces: list[tuple[int, int, int]], paths: PathNames
) -> Iterator[Finding]:
    """Space that two extents own: each would overwrite the other's bytes."""
    spaces.sort()
    reach, owner = 0, 0
    for start, end, ino in spaces:
        if start < reach:
            here, there = paths.path(owner), paths.path(ino)
            yield Finding(
                CHECK,
                f"{here} and {there}: both own bytes {start} to {min(reach, end)} of member "
                f"{member}",
                there,
            )
        if end > reach:
            reach, owner = end, ino


def _check_content(store: Store, paths: PathNames, usage: Usage) -> Iterator[Finding]:
    extents = _Runs(store.iter_extents())
    before: ContentRecord | None = None
    for row in store.iter_content():
        usage.written += row.length
        path = paths.path(row.ino)
        end = row.offset + row.length
        if row.offset < 0 or row.length <= 0 or row.offset % BLOCK or row.length % BLOCK:
            rule = f"written range at {row.offset} of {row.length} bytes is not whole blocks"
            yield Finding(CHECK, f"{path}: {rule}", path)
        elif not extents.cover(row.ino, row.offset, end):
            rule = f"bytes {row.offset} to {end} are marked written, but no extent holds them"
            yield Finding(CHECK, f"{path}: {rule}", path)
        if before is not None and before.ino == row.ino:
            previous_end = before.offset + before.length
            if previous_end > row.offset:
                rule = f"written ranges at {before.offset} and {row.offset} overlap"
                yield Finding(CHECK, f"{path}: {rule}", path)
        before = row


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
