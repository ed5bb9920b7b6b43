# SPDX-License-Identifier: MIT
"""The shared table: entries, bitmaps, and inodes that come and go between it and private memory."""

import errno
import uuid

import pytest

from iomapd.cache.arena import Arena
from iomapd.cache.board import SlotBoard
from iomapd.cache.entry import (
    COOKIE,
    DIRTY,
    HOLD,
    INO,
    SIZE,
    WAYS,
    find_entry,
    find_extent,
    note_write,
    show,
    withdraw,
)
from iomapd.cache.heritage import left_behind
from iomapd.cache.inodes import InodeTable
from iomapd.cache.marks import mark
from iomapd.cache.table import Identity, SharedTable
from iomapd.meta.records import InodeRecord
from iomapd.native.memory import load64, store64
from iomapd.native.region import Region


def record(ino, size=0):
    return InodeRecord(ino, 0o100644, 0, 0, 1, 0, size, 11, 12, 13, 14, 1)


@pytest.fixture
def shared():
    return SharedTable.private(nr_buckets=4)


@pytest.fixture
def board():
    return SlotBoard(3)


@pytest.fixture
def inodes(shared, board):
    return InodeTable(record, shared, board, max_clean=64)


def test_an_attached_inode_lives_in_its_entry(inodes, shared):
    inode = inodes.get(5)
    inode.size = 100
    assert find_entry(shared.entries, shared.nr_buckets, 5) == 0
    assert inodes.attach(inode)
    entry = find_entry(shared.entries, shared.nr_buckets, 5)
    assert entry == inode.entry
    assert (load64(entry + INO), load64(entry + SIZE)) == (5, 100)
    note_write(entry, 5000, 99)
    assert (inode.size, inode.mtime_ns, inode.ctime_ns) == (5000, 99, 99)
    inode.raise_size(4000)
    assert inode.size == 5000
    assert inode.is_dirty
    assert inodes.has_dirty()
    assert inodes.take_dirty() == [inode]
    assert load64(entry + DIRTY) == 0


def test_no_cookie_comes_twice(inodes, shared):
    """A parked request may outlive its inode's entry; what it gathered then is void."""
    inode, seen = inodes.get(5), set()
    for _ in range(3):
        inodes.attach(inode)
        seen.add(load64(inode.entry + COOKIE))
        inodes.drop(5)
        inode = inodes.get(5)
    assert len(seen) == 3


def test_an_inode_that_is_gone_gets_no_entry(inodes):
    """Somebody waited for it while it was deleted; nobody would ever take the entry back."""
    inode = inodes.get(5)
    inodes.drop(5)
    assert not inodes.attach(inode)
    again = inodes.get(5)
    assert inodes.attach(again)
    note_write(again.entry, 1, 1)
    assert inodes.take_dirty() == [again]


def test_an_idle_entry_goes_to_another_inode_of_its_bucket(inodes, shared):
    numbers = range(4, 4 + 4 * (WAYS + 1), 4)
    for ino in numbers:
        assert inodes.attach(inodes.get(ino))
    attached = [ino for ino in numbers if inodes.get(ino).entry]
    assert len(attached) == WAYS
    assert attached[-1] == numbers[-1]
    gone = inodes.get(next(ino for ino in numbers if ino not in attached))
    assert (gone.size, gone.mtime_ns) == (0, 12), "back in memory of its own"
    assert inodes.overflows == 0


def test_entries_in_use_are_not_taken(inodes, board, shared):
    """Dirty, held or shown by a lane: each keeps its entry, and the newcomer has none."""
    numbers = list(range(4, 4 + 4 * WAYS, 4))
    for index, ino in enumerate(numbers):
        inode = inodes.get(ino)
        inodes.attach(inode)
        if index == 0:
            show(board.slot(1), ino)
        elif index == 1:
            inode.lane_holds += 1
        else:
            inode.note_change()
    newcomer = inodes.get(400)
    assert not inodes.attach(newcomer)
    assert newcomer.entry == 0
    assert inodes.overflows == 1
    assert load64(inodes.get(4).entry + HOLD) == 0, "the attempt left no hold behind"
    withdraw(board.slot(1))
    assert inodes.attach(newcomer)


def test_dropping_an_inode_frees_its_entry(inodes, shared):
    told = []
    inodes.detached = told.append
    inode = inodes.get(9)
    inodes.attach(inode)
    inodes.drop(9)
    assert told == [inode]
    assert find_entry(shared.entries, shared.nr_buckets, 9) == 0
    assert shared.statistics()["entries_used"] == 0


def test_bitmaps_are_chained_and_given_back(inodes, shared):
    inode = inodes.get(9)
    inodes.attach(inode)
    pairs = [shared.add_pair(inode.entry, n << 20, 256) for n in range(5)]
    assert shared.statistics()["bitmap_bytes_used"] == 5 * 256
    for pair in (pairs[2], pairs[4], pairs[0], pairs[1], pairs[3]):
        shared.drop_pair(inode.entry, pair)
    assert shared.statistics()["bitmap_bytes_used"] == 0
    again = shared.add_pair(inode.entry, 0, 256)
    assert load64(again.written) == load64(again.fresh) == 0, "clean, whatever lay there"


def test_a_full_arena_says_so(inodes, shared):
    inode = inodes.get(9)
    inodes.attach(inode)
    assert shared.add_pair(inode.entry, 0, 1 << 30) is None


def test_a_file_system_without_room_gives_no_bitmaps_instead_of_a_fault(tmp_path):
    def full(offset, length):
        raise OSError(errno.ENOSPC, "No space left on device")

    arena = Arena(4096, 1 << 30, full)
    assert arena.take(100) is None
    assert arena.used == 0


@pytest.mark.parametrize("pos", range(0, 60, 5))
def test_find_extent_is_a_search_in_ordered_ranges(pos):
    ranges = [(5, 10), (10, 20), (30, 50)]
    block = Region(4096)
    words = block.words()
    words[0] = len(ranges)
    for index, (start, end) in enumerate(ranges):
        words[1 + 3 * index : 4 + 3 * index] = memoryview(bytearray(24)).cast("q")
        words[1 + 3 * index], words[2 + 3 * index] = start, end
    found = find_extent(block.addr, pos)
    expected = next((i for i, (start, end) in enumerate(ranges) if start <= pos < end), None)
    assert found == (0 if expected is None else block.addr + 8 + 24 * expected)


# -- what is left behind

IDENTITY = Identity.of(uuid.UUID(int=7))


@pytest.fixture
def left(tmp_path):
    """A table that a server leaves: one inode with two runs of fresh marks."""
    table = SharedTable.create(tmp_path / "t", IDENTITY, 3)
    inodes = InodeTable(record, table, SlotBoard())
    inode = inodes.get(9)
    inodes.attach(inode)
    pair = table.add_pair(inode.entry, 1 << 20, 100)
    mark(pair.written, pair.fresh, 0, 50)
    mark(pair.written, pair.fresh, 60, 61)
    inode.raise_size(1 << 21)
    return tmp_path / "t", inode, pair


def test_fresh_marks_and_size_are_read_back(left):
    path, _, _ = left
    (found,) = left_behind(path, IDENTITY, (2, 3))
    start = 1 << 20
    assert list(found.fresh) == [(start, start + 50 * 4096), (start + 60 * 4096, start + 61 * 4096)]
    assert (found.ino, found.size, found.mtime_ns, found.shrink) == (9, 1 << 21, 12, -1)


def test_other_volumes_boots_and_generations_are_ignored(left):
    path, _, _ = left
    assert left_behind(path, Identity.of(uuid.UUID(int=8)), (2, 3)) == []
    assert left_behind(path, Identity(IDENTITY.volume, bytes(16)), (2, 3)) == []
    assert left_behind(path, IDENTITY, (4, 5)) == []


@pytest.mark.parametrize("word", range(4))
@pytest.mark.parametrize("value", [-1, 1, 7, 1 << 62, -(1 << 63), 8192])
def test_a_damaged_chain_ends_where_it_is_damaged(left, word, value):
    path, _, pair = left
    store64(pair.written - 64 + 8 * word, value)
    (found,) = left_behind(path, IDENTITY, (2, 3))
    assert found.ino == 9
    assert all(0 <= start < end < 1 << 63 for start, end in found.fresh)
