# SPDX-License-Identifier: MIT
"""The shared table: entries of inodes that lanes may serve, and bitmaps of their marks.

    OFFSET  SIZE                FIELD
         0  4096                header: magic, version, generation, sizes, volume, boot
      4096  nr_buckets * 1024   entries, see `entry`
       ...  the rest            bitmaps, see `marks`

It is a file in memory (tmpfs) that outlives the server: what a killed server had acknowledged
and not made durable is in its entries and bitmaps, and the next mount takes it over
(`heritage`).  Valid for one volume, one boot and one generation; a power cut ends it, and a
power cut ends what it promised.

The pages of the file come as they are touched, so its size is a bound, not a cost.
"""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from iomapd.cache.arena import Arena
from iomapd.cache.compiled import helpers
from iomapd.cache.entry import (
    COOKIE,
    DIRTY,
    ENTRY_SIZE,
    EXTENTS,
    HOLD,
    INO,
    MARKS,
    NOT_SHRINKING,
    SHRINK,
    WAYS,
)
from iomapd.cache.marks import (
    LINE,
    PAIR_BLOCKS,
    PAIR_HEADER,
    PAIR_INO,
    PAIR_NEXT,
    PAIR_OFFSET,
    bitmap_size,
)
from iomapd.native.region import FileRegion, Region

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

MAGIC: Final = b"iomapdIT"
VERSION: Final = 1
HEADER: Final = struct.Struct("<8sQqQQ16s16s")  # magic, version, generation, buckets, size, ...
HEADER_SIZE: Final = 4096

NR_BUCKETS: Final = 2048
SIZE: Final = 256 << 20
"""Bytes: 2 MiB of entries; bitmaps for 4 TiB of files that are being written."""

PRIVATE_SIZE: Final = 32 << 20

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class Identity(NamedTuple):
    """What a table belongs to; *boot* is the kernel's boot id."""

    volume: bytes
    boot: bytes

    @classmethod
    def of(cls, volume: UUID) -> Identity:
        """Return the identity of *volume*'s table on this boot."""
        return cls(volume.bytes, bytes.fromhex(_BOOT_ID.read_text().strip().replace("-", "")))


class Pair(NamedTuple):
    """The two bitmaps of one extent; *at* is their place in the arena, the rest as in `marks`."""

    at: int
    offset: int
    nr_blocks: int
    written: int
    fresh: int


class SharedTable:
    """Entries and bitmaps of one mount.

    Args:
        region: zeroed memory, in a file or not.
        nr_buckets: a power of two.

    Attributes:
        entries: address of the first entry.
        nr_buckets: as given.
        path: of the file; None when the memory is private.
    """

    def __init__(self, region: Region, nr_buckets: int, path: Path | None = None) -> None:
        self._region = region
        self._words = region.words()
        self.path = path
        self.nr_buckets = nr_buckets
        self.entries = region.addr + HEADER_SIZE
        start = HEADER_SIZE + nr_buckets * WAYS * ENTRY_SIZE
        self._arena = Arena(start, region.size, region.back)
        self._in_use = 0
        self._cookie = 0

    @classmethod
    def private(cls, nr_buckets: int = 256) -> SharedTable:
        """Return a table that ends with the process: for read-only mounts and tests."""
        return cls(Region(PRIVATE_SIZE), nr_buckets)

    @classmethod
    def create(cls, path: Path, identity: Identity, generation: int) -> SharedTable:
        """Make the table's file, replacing what a server left half made.

        Raises:
            OSError: the directory has no room or no rights.
        """
        path.unlink(missing_ok=True)
        region = FileRegion(path, SIZE)
        header = HEADER.pack(MAGIC, VERSION, generation, NR_BUCKETS, SIZE, *identity)
        try:
            region.back(0, HEADER_SIZE + NR_BUCKETS * WAYS * ENTRY_SIZE)
        except OSError:
            path.unlink()
            raise
        region.write(0, header)
        return cls(region, NR_BUCKETS, path)

    def move_to(self, path: Path) -> None:
        """Give the table's file its name, replacing the one of the server before."""
        assert self.path is not None
        self.path.replace(path)
        self.path = path

    def remove(self) -> None:
        """Remove the file: everything is in the store."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    # -- entries

    def attach(self, ino: int, words: memoryview[int], holders: int) -> int | None:
        """Give *ino* an entry with a copy of *words*, held *holders* times.

        Returns:
            Its address, or None when its bucket has no room.
        """
        for entry in self.bucket(ino):
            index = self._index(entry)
            if self._words[index] != 0:
                continue
            self._words[index + 1 : index + ENTRY_SIZE // 8] = words[1:]
            for offset, value in (
                (HOLD, holders), (COOKIE, self.new_cookie()), (EXTENTS, 0), (MARKS, 0),
                (SHRINK, NOT_SHRINKING),
            ):  # fmt: skip
                self._words[index + offset // 8] = value
            # Last, and with a fence: who finds the number finds the rest.
            helpers().raise_to(entry + INO, ino)
            self._in_use += 1
            return entry
        return None

    def new_cookie(self) -> int:
        """Return a cookie that no entry has had: what was read under another is void."""
        self._cookie += 1
        return self._cookie

    def detach(self, entry: int) -> None:
        """Take an entry back; nobody shows its inode, and its bitmaps are gone."""
        helpers().take(entry + INO)
        self._in_use -= 1

    def bucket(self, ino: int) -> Iterator[int]:
        """Yield the addresses of the entries that *ino* may have."""
        first = self.entries + (ino & (self.nr_buckets - 1)) * WAYS * ENTRY_SIZE
        return iter(range(first, first + WAYS * ENTRY_SIZE, ENTRY_SIZE))

    def words(self, entry: int) -> memoryview[int]:
        """Return the words of an entry."""
        index = self._index(entry)
        return self._words[index : index + ENTRY_SIZE // 8]

    def hold(self, entry: int) -> None:
        """Keep lanes that come from now on away from the inode of *entry*."""
        helpers().hold(entry)

    def release(self, entry: int) -> None:
        """Take one `hold` back."""
        helpers().release(entry)

    def _index(self, entry: int) -> int:
        return (entry - self._region.addr) // 8

    def take_dirty(self) -> Iterator[int]:
        """Yield the inos whose entries changed since the last call, each once."""
        nr_entries, index = self.nr_buckets * WAYS, 0
        while (index := helpers().next_dirty(self.entries, nr_entries, index)) >= 0:
            entry = self.entries + index * ENTRY_SIZE
            helpers().take(entry + DIRTY)
            yield self.words(entry)[0]
            index += 1

    def has_dirty(self) -> bool:
        """Tell whether `take_dirty` would yield something."""
        return helpers().next_dirty(self.entries, self.nr_buckets * WAYS, 0) >= 0

    # -- bitmaps

    def add_pair(self, entry: int, offset: int, nr_blocks: int) -> Pair | None:
        """Give the inode of *entry* a pair of clear bitmaps; None when there is no room."""
        size = bitmap_size(nr_blocks)
        at = self._arena.take(PAIR_HEADER + 2 * size)
        if at is None:
            return None
        addr = self._region.addr + at
        ctypes.memset(addr, 0, PAIR_HEADER + 2 * size)
        words = self.words(entry)
        index = at // 8
        for field, value in (
            (PAIR_INO, words[INO // 8]), (PAIR_OFFSET, offset), (PAIR_BLOCKS, nr_blocks),
            (PAIR_NEXT, words[MARKS // 8]),
        ):  # fmt: skip
            self._words[index + field // 8] = value
        # The chain is whole at every instant: a killed server leaves no loose end.
        words[MARKS // 8] = at
        written = addr + PAIR_HEADER
        return Pair(at, offset, nr_blocks, written, written + size)

    def drop_pair(self, entry: int, pair: Pair) -> None:
        """Take a pair back that no lane can see any more."""
        words = self.words(entry)
        place, index = words, MARKS // 8
        while place[index] != pair.at:
            assert place[index], "the pair is not in its inode's chain"
            place, index = self._words, place[index] // 8 + PAIR_NEXT // 8
        place[index] = self._words[pair.at // 8 + PAIR_NEXT // 8]
        self._arena.give(pair.at, PAIR_HEADER + 2 * bitmap_size(pair.nr_blocks))

    # -- for people

    def statistics(self) -> dict[str, int]:
        """Return sizes of now; bytes where the name says so."""
        return {
            "entries": self.nr_buckets * WAYS,
            "entries_used": self._in_use,
            "bitmap_bytes_used": self._arena.used,
        }


assert HEADER.size <= HEADER_SIZE
assert LINE % 8 == 0
