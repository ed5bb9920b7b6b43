# SPDX-License-Identifier: MIT
"""Each rule of serving a READ or WRITE, interpreted and compiled."""

import contextlib
import errno
import os
import struct

import pytest

from iomapd.cache import entry as words
from iomapd.dataplane import plane as planes
from iomapd.dataplane import request as requests
from iomapd.dataplane.plane import BUFFERED, MAPPED
from iomapd.dataplane.statistics import UNDELIVERED
from iomapd.native.memory import load64, store64
from tests.dataplane.served import (
    BLOCK,
    DATA_OFFSET,
    INO,
    READ,
    UNIT,
    WRITE,
    Served,
    striped,
)

EXTENT = striped(0, 4, [1, 2, 3])  # 96 KiB
PATTERN = bytes(range(1, 251)) * 400
MODES = {"buffered": (BUFFERED, False), "mapped": (MAPPED, False), "copied": (MAPPED, True)}


def status(code):
    return ("status", code)


@pytest.fixture(params=MODES)
def served(functions, request):
    """All of `EXTENT` is written and holds `PATTERN`."""
    mode, copies = MODES[request.param]
    with contextlib.closing(Served(functions, (mode,) * 3, copies=copies)) as served:
        served.publish((EXTENT, None))
        served.fill(EXTENT, 0, PATTERN[: EXTENT.length])
        served.put(words.SIZE, EXTENT.length)
        yield served


@pytest.fixture
def sparse(functions):
    """Nothing of `EXTENT` is marked; the members are full of somebody else's bytes."""
    with contextlib.closing(Served(functions)) as served:
        served.publish((EXTENT, set()))
        served.fill(EXTENT, 0, b"\xee" * EXTENT.length)
        yield served


def marked(served):
    return served.bitmaps[0].blocks(served.bitmaps[0].written)


# -- reading


@pytest.mark.parametrize(("pos", "count"), [(0, 96 << 10), (5000, 20000), (UNIT - 1, 2), (0, 1)])
def test_a_read_brings_the_bytes_of_all_members_in_order(served, pos, count):
    assert served.read(pos, count) == PATTERN[pos : pos + count]
    assert served.is_quiet()


def test_a_read_ends_at_the_end_of_the_file(served):
    served.put(words.SIZE, 10001)
    assert served.read(10000, 4096) == PATTERN[10000:10001]
    assert served.read(10001, 4096) == b""
    assert served.read(1 << 40, 4096) == b""
    assert served.is_quiet()


def test_what_is_not_marked_reads_as_zeros(sparse):
    sparse.put(words.SIZE, EXTENT.length)
    sparse.bitmaps[0].set([1, 5])
    expected = bytearray(EXTENT.length)
    expected[BLOCK : 2 * BLOCK] = expected[5 * BLOCK : 6 * BLOCK] = b"\xee" * BLOCK
    assert sparse.read(0, EXTENT.length) == expected
    assert sparse.read(3000, 3000) == expected[3000:6000]


def test_a_hole_reads_as_zeros_and_touches_no_member(served):
    served.publish((EXTENT, None), holes=[(EXTENT.end, EXTENT.end + (1 << 20))])
    served.put(words.SIZE, EXTENT.end + (1 << 20))
    assert served.read(EXTENT.end - 4, 8) == PATTERN[EXTENT.end - 4 : EXTENT.end] + bytes(4)
    assert served.read(EXTENT.end, 1 << 20) == bytes(1 << 20)


def test_a_read_of_what_is_not_covered_parks_and_names_it(served):
    served.put(words.SIZE, EXTENT.end + BLOCK)
    assert served.read(EXTENT.end - 100, 200) == status(requests.PARK)
    missing = [load64(served.request + at) for at in (requests.MISSING, requests.MISSING_COUNT)]
    assert missing == [EXTENT.end, 100]
    assert load64(served.request + requests.KIND) == requests.MISS
    assert served.is_quiet()
    # It is served once the mapping is there.
    served.publish((EXTENT, None), (striped(EXTENT.end, 1, [2], at=1 << 19), set()))
    assert served.again() == requests.SERVED
    assert served.reply() == PATTERN[EXTENT.end - 100 : EXTENT.end] + bytes(100)


def test_an_inode_without_an_entry_parks(served):
    assert served.ask(served.message(READ, 0, 10, ino=INO + 4)) == requests.PARK
    assert load64(served.request + requests.MISSING_COUNT) == 10
    assert served.is_quiet()


@pytest.mark.parametrize("opcode", [READ, WRITE])
@pytest.mark.parametrize(
    ("word", "value", "reason"),
    [
        (words.HOLD, 1, requests.FORWARD_HELD),
        (words.FLAGS, words.FORWARD_ALL, requests.FORWARD_FLAGGED),
    ],
)
def test_a_held_or_flagged_inode_is_left_alone(served, opcode, word, value, reason):
    served.put(word, value)
    assert served.ask(served.message(opcode, 0, 4096, bytes(4096))) == reason
    assert served.is_quiet()
    assert served.get(words.DIRTY) == 0


def test_a_program_that_answers_nonsense_is_left_to_the_control_plane(served):
    # Asked outside of what the extent owns.
    beyond = striped(0, 2, [1, 2, 3])
    served.kept.append(beyond)
    served.publish((beyond, None))
    served.put(words.EXTENTS, _stretched(served, beyond.end + BLOCK))
    assert served.read(0, beyond.end + BLOCK) == status(requests.FORWARD_REFUSED)
    assert served.is_quiet()


def _stretched(served, end):
    """Let the only extent of the block seem to reach to *end*."""
    block = served.kept[-1]
    block[2] = end
    return block.buffer_info()[0]


def test_a_piece_outside_its_member_is_refused(served):
    served.publish((striped(0, 4, [1, 2, 3], at=1 << 20), None))
    assert served.read(0, 4096) == status(requests.FORWARD_REFUSED)
    served.publish((striped(0, 4, [1, 2, 9]), None))
    assert served.read(0, 3 * UNIT) == status(requests.FORWARD_REFUSED)


@pytest.mark.parametrize(
    ("pos", "count", "data"),
    [(-1, 10, b""), (0, 0, b""), (0, (1 << 20) + 1, b""), (2**63 - 4096, 4096, bytes(4096))],
)
@pytest.mark.parametrize("opcode", [READ, WRITE])
def test_strange_requests_are_forwarded(served, opcode, pos, count, data):
    pos %= 2**64
    assert served.ask(served.message(opcode, pos, count, data)) == requests.FORWARD_OTHER


def test_short_messages_are_forwarded(served):
    assert served.ask(served.message(READ, 0, 10)[:79]) == requests.FORWARD_OTHER
    assert served.ask(served.message(WRITE, 0, 10, bytes(9))) == requests.FORWARD_OTHER


# -- relatime


def test_a_read_raises_an_atime_that_is_older_than_a_change(served):
    served.put(words.ATIME, 5)
    served.put(words.MTIME, 5)
    served.read(0, 1)
    assert served.get(words.ATIME) > 10**18
    assert served.get(words.DIRTY) == 1


@pytest.mark.parametrize("flag", [planes.READ_ONLY, planes.NO_ATIME])
def test_noatime_and_read_only_mounts_leave_atime_alone(served, flag):
    served.plane.set(planes.FLAGS, flag)
    served.read(0, 1)
    assert (served.get(words.ATIME), served.get(words.DIRTY)) == (0, 0)


def test_an_atime_younger_than_all_changes_stays(served):
    served.put(words.ATIME, 9)
    served.put(words.MTIME, 8)
    served.read(0, 1)
    assert (served.get(words.ATIME), served.get(words.DIRTY)) == (9, 0)


# -- writing


@pytest.mark.parametrize(("pos", "size"), [(0, 96 << 10), (5000, 20000), (UNIT - 1, 2)])
def test_an_overwrite_reaches_its_members_and_nothing_else(served, pos, size):
    data = bytes(reversed(PATTERN[:size]))
    assert served.write(pos, data) == ("wrote", size)
    expected = bytearray(PATTERN[: EXTENT.length])
    expected[pos : pos + size] = data
    assert served.read(0, EXTENT.length) == expected
    assert served.get(words.SIZE) == EXTENT.length
    assert served.get(words.MARKED) == 0  # no news: all was written
    assert served.get(words.DIRTY) == 1
    assert served.get(words.MTIME) == served.get(words.CTIME) > 10**18
    assert served.is_quiet()


def test_whole_blocks_are_marked_and_raise_the_size(sparse):
    assert sparse.write(2 * BLOCK, b"a" * 2 * BLOCK) == ("wrote", 2 * BLOCK)
    assert marked(sparse) == {2, 3}
    assert sparse.bitmaps[0].blocks(sparse.bitmaps[0].fresh) == {2, 3}
    assert sparse.get(words.MARKED) == 1
    assert sparse.get(words.SIZE) == 4 * BLOCK
    assert sparse.get(words.TOUCHED) == 0b010
    assert sparse.read(0, 1 << 20) == bytes(2 * BLOCK) + b"a" * 2 * BLOCK


def test_marks_of_two_extents_are_set_in_one_write(sparse):
    second = striped(EXTENT.end, 1, [1, 2, 3], at=1 << 19)
    sparse.publish((EXTENT, set()), (second, set()))
    sparse.write(EXTENT.end - BLOCK, bytes(2 * BLOCK))
    assert marked(sparse) == {23}
    assert sparse.bitmaps[EXTENT.end].blocks(sparse.bitmaps[EXTENT.end].written) == {0}
    assert sparse.get(words.MARKED) == 1


def test_touched_members_are_known_by_their_bits(sparse):
    sparse.write(0, bytes(2 * UNIT))
    assert sparse.get(words.TOUCHED) == 0b011


def test_writeback_leaves_the_times_to_a_kernel_that_keeps_them(served):
    served.plane.set(planes.FLAGS, planes.KERNEL_TIMES)
    assert served.write(0, b"x", write_flags=1) == ("wrote", 1)
    assert (served.get(words.MTIME), served.get(words.DIRTY)) == (0, 1)
    served.plane.set(planes.FLAGS, 0)
    assert served.write(0, b"x", write_flags=1) == ("wrote", 1)
    assert served.get(words.MTIME) > 10**18


@pytest.mark.parametrize("flags", [os.O_DSYNC, os.O_SYNC])
def test_durable_writes_are_forwarded(served, flags):
    assert served.write(0, bytes(BLOCK), flags=flags) == status(requests.FORWARD_SYNC)
    assert served.get(words.TOUCHED) == 0


def test_read_only_mounts_and_flagged_inodes_take_no_write(served):
    served.put(words.FLAGS, words.FORWARD_WRITES)
    assert served.write(0, b"x") == status(requests.FORWARD_FLAGGED)
    assert served.read(0, 1) == PATTERN[:1]
    served.put(words.FLAGS, 0)
    served.plane.set(planes.FLAGS, planes.READ_ONLY)
    assert served.write(0, b"x") == status(requests.FORWARD_FLAGGED)


@pytest.mark.parametrize(
    ("pos", "size"), [(0, 10), (10, BLOCK - 10), (BLOCK, BLOCK + 1), (BLOCK - 1, BLOCK + 1)]
)
def test_a_first_write_to_a_part_of_a_block_is_forwarded(sparse, pos, size):
    assert sparse.write(pos, bytes(size)) == status(requests.FORWARD_PARTIAL)
    assert (marked(sparse), sparse.get(words.TOUCHED)) == (set(), 0)
    assert sparse.is_quiet()


def test_a_part_of_a_written_block_beside_whole_new_ones_is_served(sparse):
    sparse.bitmaps[0].set([0, 3])
    sparse.put(words.SIZE, 4 * BLOCK)
    assert sparse.write(100, bytes(3 * BLOCK)) == ("wrote", 3 * BLOCK)
    assert marked(sparse) == {0, 1, 2, 3}


def test_a_write_behind_a_stale_tail_is_forwarded(served):
    served.put(words.SIZE, 100)
    for pos in (101, BLOCK, 2 * BLOCK):
        assert served.write(pos, bytes(BLOCK)) == status(requests.FORWARD_PARTIAL)
    assert served.write(100, bytes(BLOCK)) == ("wrote", BLOCK)


def test_a_write_behind_a_file_that_ends_with_its_block_is_served(sparse):
    sparse.bitmaps[0].set([0])
    sparse.put(words.SIZE, BLOCK)
    assert sparse.write(3 * BLOCK, bytes(BLOCK)) == ("wrote", BLOCK)


def test_a_gap_behind_an_unwritten_tail_is_no_gap(sparse):
    sparse.put(words.SIZE, 100)
    assert sparse.write(BLOCK, bytes(BLOCK)) == ("wrote", BLOCK)


def test_a_gap_behind_an_unknown_tail_is_forwarded(sparse):
    sparse.publish((striped(EXTENT.end, 1, [1]), set()))
    sparse.put(words.SIZE, 100)
    assert sparse.write(EXTENT.end, bytes(BLOCK)) == status(requests.FORWARD_PARTIAL)


def test_writes_into_holes_and_unknown_places_park(sparse):
    sparse.publish((EXTENT, set()), holes=[(EXTENT.end, EXTENT.end + BLOCK)])
    for pos in (EXTENT.end, EXTENT.end + BLOCK):
        assert sparse.write(pos - BLOCK, bytes(2 * BLOCK)) == status(requests.PARK)
        assert load64(sparse.request + requests.MISSING) >= EXTENT.end
    assert (marked(sparse), sparse.get(words.TOUCHED)) == (set(), 0)
    assert sparse.is_quiet()


# -- members that fail


def shrink(served, member, size=0):
    os.ftruncate(served.fds[member - 1], size)


def test_a_mapped_page_that_cannot_be_read_is_told_with_its_member_and_address(functions):
    with contextlib.closing(Served(functions, (MAPPED,) * 3)) as served:
        served.publish((EXTENT, None))
        served.put(words.SIZE, EXTENT.length)
        told, post = os.pipe2(os.O_NONBLOCK)
        served.plane.set(planes.MISSES, post)
        shrink(served, 2, DATA_OFFSET + UNIT)
        assert served.read(0, 6 * UNIT) == -errno.EIO
        record = struct.unpack("<6q", os.read(told, 4096))
        assert record == (0, INO, UNIT, UNIT, 2, requests.FAULT)
        assert served.plane.statistics()["members"][2]["errors"] == 1
        assert served.read(2 * UNIT, UNIT) == bytes(UNIT)
        with pytest.raises(BlockingIOError):
            os.read(told, 1)
        os.close(told)
        os.close(post)


def test_a_shrunk_member_fails_what_reads_it_and_nothing_else(served):
    shrink(served, 2, BLOCK)
    # Out of a mapping the reply itself fails, and the kernel has ended the request.
    assert served.read(0, 3 * UNIT) in (("status", requests.FORWARD_FAILED), -errno.EIO)
    assert served.is_quiet()
    assert served.read(0, UNIT) == PATTERN[:UNIT]
    assert served.read(2 * UNIT, UNIT) == PATTERN[2 * UNIT : 3 * UNIT]


def test_a_failed_write_is_forwarded_and_touches_but_marks_nothing(sparse):
    fd = os.open("/dev/full", os.O_WRONLY)
    os.dup2(fd, sparse.fds[1])
    os.close(fd)
    assert sparse.write(0, bytes(3 * UNIT)) == ("status", requests.FORWARD_FAILED)
    assert (marked(sparse), sparse.get(words.SIZE)) == (set(), 0)
    assert sparse.get(words.TOUCHED) == 0b111
    assert sparse.get(words.DIRTY) == 0
    assert sparse.is_quiet()


def test_a_mapping_shorter_than_its_member_is_no_limit(functions):
    with contextlib.closing(Served(functions, (MAPPED,) * 3)) as served:
        served.publish((EXTENT, None))
        served.fill(EXTENT, 0, PATTERN[: EXTENT.length])
        served.put(words.SIZE, EXTENT.length)
        record = load64(served.plane.addr + planes.MEMBERS) + planes.MEMBER_SIZE

        store64(record + planes.MEMBER_MAP_SIZE, UNIT + BLOCK)
        assert served.read(0, EXTENT.length) == PATTERN[: EXTENT.length]


# -- the last lane outside member I/O


def test_the_last_free_lane_only_forwards(functions):
    with contextlib.closing(Served(functions, nr_lanes=2)) as served:
        served.publish((EXTENT, None))
        served.put(words.SIZE, EXTENT.length)
        served.plane.set(planes.FLAGS, planes.CAN_BLOCK)
        assert served.read(0, 4) == bytes(4)
        assert served.plane.get(planes.BUSY) == 0
        served.plane.set(planes.BUSY, 1)  # the other lane is in member I/O
        for answer in (served.read(0, 4), served.write(0, b"abcd")):
            assert answer == status(requests.FORWARD_BUSY)
        assert served.get(words.TOUCHED) == 0
        assert served.plane.get(planes.BUSY) == 1
        # A resumed request keeps no lane from reading.
        served.load(served.message(READ, 0, 4))

        store64(served.request + requests.STATE, requests.PARKED)
        assert served.again() == requests.SERVED
        assert served.reply() == bytes(4)


def test_replies_nobody_waits_for_are_counted(served):

    served.kernel.close()
    assert served.ask(served.message(READ, 0, 10)) == requests.SERVED
    assert load64(served.stats + UNDELIVERED) == 1


def test_data_lies_where_the_data_area_begins(served):
    assert os.pread(served.fds[0], 4, DATA_OFFSET) == PATTERN[:4]
    assert struct.pack("<I", 1) != PATTERN[:4]
