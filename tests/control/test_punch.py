# SPDX-License-Identifier: MIT
"""Punching holes: bytes, space, marks, and what a crash may bring back."""

import random
from pathlib import Path

import pytest

from iomapd.control.punch import plan_punch
from iomapd.mapping.extent import Extent, Strip
from tests.control.conftest import MIB, make_control, point_under_way, reopened
from tests.control.soundness import allocated, assert_sound
from tests.control.test_takeover import Killed

OWNER = (0, 0)
PROGRAMS = Path(__file__).parents[2] / "programs"
UNIT = 65536
ROW = 4 * UNIT


def new_file(control, name=b"f"):
    return control.names.make(1, name, 0o100644, OWNER)


async def contents(control, inode):
    return bytes(await control.files.read(inode, 0, inode.size))


async def filled(control, size):
    inode = new_file(control)
    data = random.Random(size).randbytes(size)
    for pos in range(0, size, MIB):
        await control.files.write(inode, pos, data[pos : pos + MIB])
    return inode, bytearray(data)


RANGES = [
    (0, 1), (4095, 2), (4096, 4096), (5000, 100), (5000, 10_000), (0, MIB), (100_000, 2 * MIB),
    (MIB - 1, MIB + 2), (2 * MIB, 5 * MIB), (3 * MIB - 10, 100), (0, 1 << 40),
]  # fmt: skip


@pytest.mark.parametrize(("pos", "length"), RANGES)
async def test_a_hole_reads_as_zeros_now_and_after_a_crash(live, pos, length):
    inode, data = await filled(live, 3 * MIB - 7)
    await live.points.make()
    await live.puncher.punch(inode, pos, length)
    end = min(pos + length, len(data))
    data[pos:end] = bytes(end - pos)
    assert inode.size == len(data)
    assert await contents(live, inode) == data
    await assert_sound(live)
    after = reopened(live)
    assert await contents(after, after.core.inode(inode.ino)) == data


async def test_whole_rows_give_their_space_back_wherever_they_are(live):
    inode, data = await filled(live, 4 * MIB)
    await live.room.trim(inode)
    await live.points.make()
    for start in (MIB, 3 * MIB, 0, 2 * MIB):
        before = allocated(live, inode)
        await live.puncher.punch(inode, start, MIB)
        data[start : start + MIB] = bytes(MIB)
        assert allocated(live, inode) == before - MIB
        assert await contents(live, inode) == data
        await assert_sound(live)
    assert allocated(live, inode) == 0
    assert live.core.space.free == sum(live.core.data_size_of.values())


async def test_freed_space_waits_for_a_point(live):
    inode, _ = await filled(live, 2 * MIB)
    await live.points.make()
    await live.puncher.punch(inode, 0, MIB)
    assert live.core.space.held == MIB
    await live.points.make()
    assert live.core.space.held == 0


async def test_holes_can_be_filled_again(live):
    inode, data = await filled(live, 3 * MIB)
    chance = random.Random(7)
    for _ in range(30):
        pos, length = chance.randrange(3 * MIB), chance.randrange(1, MIB)
        length = min(length, 3 * MIB - pos)
        if chance.random() < 0.5:
            await live.puncher.punch(inode, pos, length)
            data[pos : pos + length] = bytes(length)
        else:
            data[pos : pos + length] = new = chance.randbytes(length)
            await live.files.write(inode, pos, new)
    assert await contents(live, inode) == data
    await assert_sound(live)


async def test_a_point_under_way_does_not_bring_marks_back(live, monkeypatch):
    inode, data = await filled(live, MIB)
    async with point_under_way(live, monkeypatch):
        await live.puncher.punch(inode, 0, MIB // 2)
    data[: MIB // 2] = bytes(MIB // 2)
    assert await contents(live, inode) == data
    monkeypatch.undo()
    await assert_sound(live)
    assert live.core.store.space.written(inode.ino) == [(MIB // 2, MIB)]


@pytest.mark.parametrize(("program", "row", "freed"), [
    ("reverse", 1, 0),  # its first rows are the last on the members
    ("rotated", 1, ROW),  # a row is like any other
    ("declustered", 1, 0),  # no row is like the next
])  # fmt: skip
async def test_what_a_program_cannot_give_back_is_zeroed_all_the_same(
    tmp_path, nursery, program, row, freed
):
    source = (PROGRAMS / f"{program}.py").read_text()
    control = make_control(tmp_path / "s.db", source=source)
    nursery.start_soon(control.points.run)
    inode, data = await filled(control, 8 * MIB)
    await control.room.trim(inode)
    extents = list(control.core.store.space.iter_extents(inode.ino))
    middle = max(extents, key=lambda e: e.length).offset + row * ROW
    before = allocated(control, inode)
    await control.puncher.punch(inode, middle, ROW)
    data[middle : middle + ROW] = bytes(ROW)
    assert before - allocated(control, inode) == freed
    assert await contents(control, inode) == data
    await control.puncher.punch(inode, 0, 1 << 40)
    assert not any(await contents(control, inode))
    assert allocated(control, inode) == 0
    await assert_sound(control)
    control.core.store.close()


@pytest.mark.parametrize("settled", [True, False])
@pytest.mark.parametrize(("pos", "length"), [(0, MIB), (100_000, MIB), (MIB, MIB)])
async def test_a_killed_server_brings_nothing_back_and_loses_nothing_else(
    tmp_path, nursery, pos, length, settled
):
    killed = Killed(tmp_path)
    control = killed.control
    inode = killed.make(b"f")
    data = bytearray(random.Random(3).randbytes(2 * MIB))
    for at in range(0, len(data), MIB):
        await control.files.write(inode, at, bytes(data[at : at + MIB]))
    if settled:
        await control.points.make_now()
        data[MIB - 5000 : MIB + 5000] = b"y" * 10_000
        await control.files.write(inode, MIB - 5000, b"y" * 10_000)
    await control.puncher.punch(inode, pos, length)
    data[pos : pos + length] = bytes(length)
    killed.kill()
    assert await killed.read(b"f") == data
    killed.control.core.store.close()


async def test_what_is_left_behind_a_hole_stays_fresh_when_what_is_before_it_goes(tmp_path):
    killed = Killed(tmp_path)
    control, inode = killed.control, killed.make(b"f")
    data = bytearray(random.Random(4).randbytes(3 * MIB))
    for at in range(0, len(data), MIB):
        await control.files.write(inode, at, bytes(data[at : at + MIB]))
    for pos in (MIB + ROW, 0):
        await control.puncher.punch(inode, pos, MIB)
        data[pos : pos + MIB] = bytes(MIB)
    await control.puncher.punch(inode, MIB, ROW)
    data[MIB : MIB + ROW] = bytes(ROW)
    killed.kill()
    assert await killed.read(b"f") == data
    killed.control.core.store.close()


def extent(offset, length, nr_strips):
    strips = tuple(Strip(i + 1, 10 * MIB) for i in range(nr_strips))
    each = length // nr_strips
    return Extent(1, offset, length, 1, UNIT, 1, each, each, strips)


def planned(one, low, high, *, can_cut=True, can_stand=True):
    plan = plan_punch([one], low, high, lambda _: can_cut, lambda *_: can_stand)
    return (
        [(e.offset, e.length) for e in plan.gone],
        [(e.offset, e.length, e.strips[0].addr) for e in plan.kept],
        sum(end - start for _, (start, end) in plan.spaces),
    )


def test_plans():
    wide, at = extent(0, 16 * ROW, 4), 10 * MIB
    assert planned(wide, 0, 16 * ROW) == ([(0, 16 * ROW)], [], 16 * ROW)
    assert planned(wide, ROW, 16 * ROW) == ([], [(0, ROW, at)], 15 * ROW)
    assert planned(wide, ROW + 1, 20 * ROW) == ([], [(0, 2 * ROW, at)], 14 * ROW)
    tail = (3 * ROW, 13 * ROW, at + 3 * UNIT)
    assert planned(wide, 0, 3 * ROW) == ([(0, 16 * ROW)], [tail], 3 * ROW)
    assert planned(wide, ROW, 3 * ROW) == ([], [(0, ROW, at), tail], 2 * ROW)
    nothing = ([], [], 0)
    assert planned(wide, ROW + 4096, 3 * ROW - 4096) == nothing
    assert planned(wide, ROW, 16 * ROW, can_cut=False) == nothing
    assert planned(wide, ROW, 3 * ROW, can_stand=False) == nothing
    assert planned(wide, 0, 16 * ROW, can_cut=False, can_stand=False)[2] == 16 * ROW
    single = extent(0, UNIT, 1)
    assert planned(single, 4096, 8192) == (
        [], [(0, 4096, at), (8192, UNIT - 8192, at + 8192)], 4096,
    )  # fmt: skip
