# SPDX-License-Identifier: MIT
"""What a killed server left in its table: completed writes that the store does not have.

The file is input like any other: a killed server may have stopped between any two stores.  What
does not fit is left out; what fits is checked against the store by who takes it over.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from iomapd.abi.units import BLOCK, MAX_FILE_SIZE
from iomapd.cache.compiled import helpers
from iomapd.cache.entry import (
    ATIME,
    CTIME,
    ENTRY_SIZE,
    INO,
    MARKS,
    MTIME,
    SHRINK,
    SIZE,
    WAYS,
)
from iomapd.cache.marks import (
    PAIR_BLOCKS,
    PAIR_HEADER,
    PAIR_INO,
    PAIR_NEXT,
    PAIR_OFFSET,
    bitmap_size,
)
from iomapd.cache.table import HEADER, HEADER_SIZE, MAGIC, VERSION, Identity
from iomapd.geometry.ranges import RangeSet
from iomapd.native.region import FileRegion, Region

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

log = logging.getLogger(__name__)

_RUNS = 512


@dataclass(frozen=True, slots=True)
class LeftInode:
    """One entry: sizes in bytes, times in ns; *fresh* are marks that the store lacks.

    *shrink* is the size a truncate was going down to, or -1.
    """

    ino: int
    size: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    shrink: int
    fresh: RangeSet


def left_behind(path: Path, identity: Identity, generations: tuple[int, int]) -> list[LeftInode]:
    """Read what a server that is gone left at *path*; empty when that is nothing of ours.

    Args:
        path: of the table's file.
        identity: of the volume, on this boot.
        generations: of the store, settled and pending; the table must be of one of them.
    """
    try:
        region = FileRegion(path)
    except (FileNotFoundError, ValueError):  # an empty file cannot be mapped
        return []
    except OSError as exc:
        log.warning("%s: what the last server left cannot be read: %s", path, exc.strerror)
        return []
    if region.size < HEADER_SIZE:
        return []
    magic, version, generation, nr_buckets, size, volume, boot = HEADER.unpack(
        region.read(0, HEADER.size)
    )
    if (magic, version, size) != (MAGIC, VERSION, region.size):
        log.warning("%s: is no inode table of this version; ignored", path)
        return []
    if Identity(volume, boot) != identity or generation not in generations:
        log.info("%s: of another boot or generation; ignored", path)
        return []
    if not 0 < nr_buckets * WAYS * ENTRY_SIZE <= size - HEADER_SIZE:
        log.warning("%s: %d buckets do not fit in it; ignored", path, nr_buckets)
        return []
    return list(_Reader(region, nr_buckets * WAYS).inodes())


class _Reader:
    def __init__(self, region: Region, nr_entries: int) -> None:
        self._region = region
        self._words = region.words()
        self._nr_entries = nr_entries
        self._out = Region(_RUNS * 16)

    def inodes(self) -> Iterator[LeftInode]:
        for number in range(self._nr_entries):
            start = (HEADER_SIZE + number * ENTRY_SIZE) // 8
            if self._words[start] > 0:
                yield self._inode(self._words[start : start + ENTRY_SIZE // 8])

    def _inode(self, words: memoryview[int]) -> LeftInode:
        size, shrink = words[SIZE // 8], words[SHRINK // 8]
        return LeftInode(
            words[INO // 8],
            min(max(size, 0), MAX_FILE_SIZE),
            words[ATIME // 8],
            words[MTIME // 8],
            words[CTIME // 8],
            shrink,
            self._fresh(words[INO // 8], words[MARKS // 8]),
        )

    def _fresh(self, ino: int, at: int) -> RangeSet:
        """Follow the inode's chain of bitmaps; a link that leads out of it ends it."""
        found = RangeSet()
        seen: set[int] = set()
        while at not in seen and self._is_pair(ino, at):
            seen.add(at)
            index = at // 8
            offset = self._words[index + PAIR_OFFSET // 8]
            nr_blocks = self._words[index + PAIR_BLOCKS // 8]
            fresh = self._region.addr + at + PAIR_HEADER + bitmap_size(nr_blocks)
            for first, last in runs(fresh, nr_blocks, self._out):
                found.add(offset + first * BLOCK, offset + last * BLOCK)
            at = self._words[index + PAIR_NEXT // 8]
        return found

    def _is_pair(self, ino: int, at: int) -> bool:
        if at <= 0 or at % 8 or at > self._region.size - PAIR_HEADER:
            return False
        index = at // 8
        nr_blocks = self._words[index + PAIR_BLOCKS // 8]
        offset = self._words[index + PAIR_OFFSET // 8]
        room = (self._region.size - at - PAIR_HEADER) // 2
        return (
            self._words[index + PAIR_INO // 8] == ino
            and 0 < nr_blocks <= room * 8
            and bitmap_size(nr_blocks) <= room
            and 0 <= offset <= MAX_FILE_SIZE - nr_blocks * BLOCK
            and offset % BLOCK == 0
        )


def runs(bitmap: int, nr_blocks: int, out: Region) -> Iterator[tuple[int, int]]:
    """Yield the runs of set bits of a bitmap as (first bit, one past the last).

    Args:
        bitmap: its address.
        nr_blocks: bits.
        out: scratch room for pairs.
    """
    room, first, words = out.size // 16, 0, out.words()
    while True:
        count = helpers().collect_runs(bitmap, first, nr_blocks, out.addr, room) - 1
        yield from [(words[2 * i], words[2 * i + 1]) for i in range(count)]
        if count < room:
            return
        first = words[2 * count - 1]
