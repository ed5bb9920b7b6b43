# SPDX-License-Identifier: MIT
"""What lanes miss is published, allocated, or handed on; looked at with the lanes' eyes."""

import os
import stat
import struct
from contextlib import asynccontextmanager

import pytest
import trio

from iomapd.cache.board import SlotBoard
from iomapd.cache.entry import (
    COOKIE,
    EXTENTS,
    FLAGS,
    FORWARD_WRITES,
    HOLD,
    MARKED,
    PLACES,
    TOUCHED,
    find_entry,
    find_extent,
    note_write,
    show,
    withdraw,
)
from iomapd.cache.marks import mark
from iomapd.control.misses import FORWARD, SERVE, Misses
from iomapd.control.mount import ControlPlane
from iomapd.dataplane.request import ANSWER_ADDR, ANSWER_MEMBER, ANSWER_STATUS, ANSWERED, FAULT
from iomapd.mapping.walk import FRESH, MARKS
from iomapd.meta.store import Store
from iomapd.native.memory import fetch_add, fetch_or, load64, store64
from iomapd.native.region import Region
from tests.control.conftest import MIB, make_control

READING, WRITING = 0, 1
MISS, UPCALL = 1, 2


class Lane:
    """Asks as a lane does, and looks at what it got with the lanes' functions."""

    def __init__(self, control, nursery):
        self.control, self.board = control, control.core.board
        self.posted_in, self.posted = os.pipe2(os.O_NONBLOCK)
        self.answers, self.answers_in = os.pipe2(os.O_NONBLOCK)
        self.memory = Region(4096)
        misses = Misses(
            control.core, control.room, self.posted_in, self.answers_in, lambda _: self.memory.addr
        )
        nursery.start_soon(misses.run)

    async def ask(self, ino, pos, count, opflags=READING, kind=MISS):
        os.write(self.posted, struct.pack("<6q", 7, ino, pos, count, opflags, kind))
        with trio.fail_after(20):
            await trio.lowlevel.wait_readable(self.answers)
        index, verdict = struct.unpack("<2q", os.read(self.answers, 16))
        assert index == 7
        return verdict

    def entry(self, ino):
        shared = self.control.core.shared
        return find_entry(shared.entries, shared.nr_buckets, ino)

    def extent(self, ino, pos):
        """Return (start, end, words) of what is published at *pos*, or None."""
        block = load64(self.entry(ino) + EXTENTS)
        triple = find_extent(block, pos) if block else 0
        return tuple(load64(triple + 8 * i) for i in range(3)) if triple else None

    def write(self, ino, pos, end):
        """What a lane does to memory when its member I/O is over; bits of whole blocks."""
        entry = self.entry(ino)
        start, _, words = self.extent(ino, pos)
        fetch_or(entry + TOUCHED, 1)
        first, last = (pos - start) // 4096, (end - start) // 4096
        mark(load64(words + MARKS), load64(words + FRESH), first, last)
        fetch_add(entry + MARKED, 1)
        note_write(entry, end, 12345)

    def close(self):
        for fd in (self.posted_in, self.posted, self.answers, self.answers_in):
            os.close(fd)


def make_live(tmp_path, **kwargs):
    first = make_control(tmp_path / "s.db", **kwargs)
    first.core.store.close()
    return ControlPlane(
        Store.open(tmp_path / "s.db"), first.core.members, read_only=False,
        mapper=kwargs.get("mapper", "program"), board=SlotBoard(2),
    )  # fmt: skip


@asynccontextmanager
async def living_lane(tmp_path, nursery, mapper):
    """A lane of a mount with this strategy, which makes durability points."""
    control = make_live(tmp_path, mapper=mapper)
    nursery.start_soon(control.points.run)
    lane = Lane(control, nursery)
    yield lane
    nursery.cancel_scope.cancel()
    lane.close()
    control.core.store.close()
    for member in control.core.members:
        member.close()


@pytest.fixture(params=["program"])
async def lane(request, tmp_path, nursery):
    async with living_lane(tmp_path, nursery, request.param) as lane:
        yield lane


def new_file(lane, name=b"f"):
    return lane.control.names.make(1, name, stat.S_IFREG | 0o644, (0, 0))


async def test_a_write_miss_allocates_and_publishes_with_clear_marks(lane):
    inode = new_file(lane)
    assert await lane.ask(inode.ino, 0, MIB, WRITING) == SERVE
    start, end, words = lane.extent(inode.ino, 500_000)
    assert start <= 500_000 < end
    assert load64(load64(words + MARKS)) == 0
    assert load64(lane.entry(inode.ino) + FLAGS) == 0, "lanes may write it"


async def test_what_a_lane_wrote_is_read_by_the_other_plane(lane):
    inode, files = new_file(lane), lane.control.files
    await lane.ask(inode.ino, 0, 8192, WRITING)
    _, _, words = lane.extent(inode.ino, 0)
    runs = list(lane.control.core.mapper.pieces(inode.ino, 0, 8192))
    for member, addr, low, high in runs:
        seat = next(m for m in lane.control.core.members if m.id == member)
        os.pwrite(seat.fd, b"lane" * ((high - low) // 4), seat.data_offset + addr)
    assert bytes(await files.read(inode, 0, 8192)) == b"", "not marked, not there"
    lane.write(inode.ino, 0, 8192)
    assert inode.size == 8192
    assert inode.mtime_ns == 12345
    assert bytes(await files.read(inode, 0, 8192)) == b"lane" * 2048
    await lane.control.points.make()
    assert lane.control.core.store.space.written(inode.ino) == [(0, 8192)]
    assert lane.control.core.store.names.inode(inode.ino).size == 8192
    assert load64(load64(words + FRESH)) == 0, "the store has it"
    assert not inode.is_dirty


async def test_a_mark_beyond_its_size_waits_for_the_next_point(lane):
    """A lane was between its marks and its size when the point copied."""
    inode = new_file(lane)
    await lane.ask(inode.ino, 0, 8192, WRITING)
    lane.write(inode.ino, 0, 4096)
    _, _, words = lane.extent(inode.ino, 0)
    mark(load64(words + MARKS), load64(words + FRESH), 1, 2)
    fetch_add(lane.entry(inode.ino) + MARKED, 1)
    await lane.control.points.make()
    assert lane.control.core.store.space.written(inode.ino) == [(0, 4096)]
    note_write(lane.entry(inode.ino), 8192, 0)
    await lane.control.points.make()
    assert lane.control.core.store.space.written(inode.ino) == [(0, 8192)]


async def test_a_point_takes_no_mark_above_the_size_it_takes(lane, monkeypatch):
    """A lane raised the size while the point copied; power fails, and the file grows later."""
    inode = new_file(lane)
    await lane.ask(inode.ino, 0, 8192, WRITING)
    lane.write(inode.ino, 0, 4096)
    read, writes = type(inode).size.fget, [lambda: lane.write(inode.ino, 4096, 8192)]

    def size(self):
        seen = read(self)
        if writes:
            writes.pop()()
        return seen

    monkeypatch.setattr(type(inode), "size", property(size))
    lane.control.points._copies[inode.ino] = copied = lane.control.points._copy_of(inode)
    monkeypatch.undo()
    lane.control.points._put_back(copied)
    assert (copied.size, list(copied.marks)) == (4096, [(0, 4096)])
    await lane.control.points.make()
    assert lane.control.core.store.space.written(inode.ino) == [(0, 8192)]


async def test_a_read_miss_of_a_written_file_needs_no_bitmap(lane):
    inode = new_file(lane)
    await lane.control.files.write(inode, 0, b"x" * 65536)
    await lane.control.points.make()
    control = lane.control.core
    control.table.drop(inode.ino)
    assert await lane.ask(inode.ino, 0, 4096) == SERVE
    _, _, words = lane.extent(inode.ino, 0)
    assert load64(words + MARKS) == 0


async def test_a_hole_is_published_as_one(lane):
    inode = new_file(lane)
    await lane.control.files.truncate(inode, 10 * MIB)
    assert await lane.ask(inode.ino, 5 * MIB, 4096) == SERVE
    start, end, words = lane.extent(inode.ino, 5 * MIB)
    assert start <= 5 * MIB < end
    assert words == 0


async def test_a_hole_that_was_published_is_not_read_after_it_was_written(lane):
    """Lanes were shown a hole; the other plane made extents there and wrote."""
    inode = new_file(lane)
    await lane.control.files.truncate(inode, MIB)
    await lane.ask(inode.ino, 0, 4096)
    assert lane.extent(inode.ino, 0)[2] == 0
    await lane.control.files.write(inode, 5, b"part of a block")
    _, _, words = lane.extent(inode.ino, 0)
    assert load64(load64(words + MARKS)) & 1


async def test_truncate_waits_for_a_lane_and_takes_its_extents_away(lane):
    inode = new_file(lane)
    await lane.ask(inode.ino, 0, MIB, WRITING)
    lane.write(inode.ino, 0, 65536)
    slot, entry = lane.board.slot(0), lane.entry(inode.ino)
    show(slot, inode.ino)
    cookie, done = load64(entry + COOKIE), trio.Event()

    async def cut():
        await lane.control.files.truncate(inode, 0)
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cut)
        await trio.sleep(0.02)
        assert load64(entry + HOLD) == 1
        assert not done.is_set(), "the lane still works on it"
        withdraw(slot)
    assert (inode.size, load64(entry + EXTENTS), load64(entry + HOLD)) == (0, 0, 0)
    assert load64(entry + COOKIE) > cookie
    assert lane.control.core.store.space.extents(inode.ino, 0, 1 << 62, -1) == []


async def test_a_member_that_a_lane_could_not_read_is_named_in_the_log(lane, caplog):
    member = lane.control.core.members[1]
    os.ftruncate(member.fd, member.data_offset + 4096)
    record = struct.pack("<6q", 7, 1, 8192, 4096, member.id, FAULT)
    os.write(lane.posted, record)
    with trio.fail_after(20):
        while not caplog.records:
            await trio.lowlevel.checkpoint()
    assert f"member {member.path}: read at {member.data_offset + 8192}: " in caplog.text
    assert lane.control.core.io.counters()[member.id].errors == 1
    with pytest.raises(BlockingIOError):
        os.read(lane.answers, 1)


async def test_a_shown_block_is_kept_until_nobody_shows_it(lane):
    inode = new_file(lane)
    await lane.ask(inode.ino, 0, MIB, WRITING)
    publisher = lane.control.core.publisher
    show(lane.board.slot(1), inode.ino)
    await lane.ask(inode.ino, 0, MIB, WRITING)
    publisher.sweep()
    assert len(publisher._retired) == 1
    withdraw(lane.board.slot(1))
    publisher.sweep()
    assert publisher._retired == []


async def test_writes_that_have_something_to_clear_are_forwarded(lane):
    inode = new_file(lane)
    await lane.ask(inode.ino, 0, 4096, WRITING)
    entry = lane.entry(inode.ino)
    lane.control.attributes.set(inode, mode=0o4755)
    assert load64(entry + FLAGS) == FORWARD_WRITES
    lane.control.attributes.set(inode, mode=0o755)
    assert load64(entry + FLAGS) == 0
    lane.control.attributes.set_xattr(inode, b"security.capability", b"x" * 20)
    assert load64(entry + FLAGS) == FORWARD_WRITES


async def test_a_full_volume_is_the_handlers_business(lane):
    inode = new_file(lane)
    assert await lane.ask(inode.ino, 0, 1 << 30, WRITING) == FORWARD


async def test_an_inode_that_is_gone_is_forwarded(lane):
    assert await lane.ask(4711, 0, 4096) == FORWARD


@pytest.mark.parametrize("lane", ["cache"], indirect=True)
async def test_places_are_published_and_appended(lane):
    inode = new_file(lane)
    await lane.control.files.write(inode, 0, os.urandom(MIB))
    inos = inode.ino
    lane.control.core.places.forget(inos)
    assert await lane.ask(inos, 0, 300_000) == SERVE
    table = load64(lane.entry(inos) + PLACES)
    count = load64(table)
    assert await lane.ask(inos, 524_288, 300_000) == SERVE
    assert load64(lane.entry(inos) + PLACES) == table, "appended in place"
    assert load64(table) > count
    assert await lane.ask(inos, 400_000, 4096) == SERVE
    table = load64(lane.entry(inos) + PLACES)
    records = [
        tuple(load64(table + 8 + 32 * i + 8 * j) for j in range(4)) for i in range(load64(table))
    ]
    assert records == sorted(records)
    for start, end, member, addr in records:
        pieces = list(lane.control.core.upcalls.pieces(inos, start, end))
        assert pieces == [(member, addr, start, end)]


@pytest.mark.parametrize("lane", ["upcall"], indirect=True)
async def test_an_upcall_is_answered_into_the_request(lane):
    inode = new_file(lane)
    await lane.control.files.write(inode, 0, os.urandom(MIB))
    store64(lane.memory.addr + ANSWER_STATUS, 0)
    assert await lane.ask(inode.ino, 70_000, 10, kind=UPCALL) == SERVE
    assert load64(lane.memory.addr + ANSWER_STATUS) == ANSWERED
    (piece,) = lane.control.core.upcalls.pieces(inode.ino, 69_632, 69_633)
    assert load64(lane.memory.addr + ANSWER_MEMBER) == piece[0]
    assert load64(lane.memory.addr + ANSWER_ADDR) == piece[1]
