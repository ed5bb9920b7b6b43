# SPDX-License-Identifier: MIT
"""Migration: the same bytes in another layout, whoever works, fails or dies meanwhile."""

import errno
import random
from pathlib import Path

import pytest
import trio

from iomapd.control.migrate import chunk_of
from iomapd.errors import MemberError, SpaceError, UsageError
from tests.control.conftest import MIB, make_control, point_under_way, reopened
from tests.control.faulty import Faulty
from tests.control.soundness import assert_sound
from tests.control.test_punch import extent
from tests.control.test_takeover import Killed

OWNER = (0, 0)
UNIT = 65536
ROW = 4 * UNIT
PROGRAMS = Path(__file__).parents[2] / "programs"


def new_file(control, name=b"f"):
    return control.names.make(1, name, 0o100644, OWNER)


async def contents(control, inode):
    return bytes(await control.files.read(inode, 0, inode.size))


async def filled(control, size, name=b"f"):
    inode = new_file(control, name)
    data = random.Random(size).randbytes(size)
    for pos in range(0, size, MIB):
        await control.files.write(inode, pos, data[pos : pos + MIB])
    return inode, bytearray(data)


async def other_layout(control, **changes):
    """Return the id of another layout than the root's: that of a directory of this name."""
    name = repr(changes).encode()
    top = control.names.make(1, name, 0o040755, OWNER)
    await control.layouts.set(top, **(changes or {"unit": 16384, "width": 3}))
    return top.layout


async def migrate(control, inode, target, limit=256 * MIB):
    """Move all of a file; return the steps."""
    steps, pos = [], 0
    while not steps or not steps[-1].done:
        steps.append(await control.migrator.step(inode, target, pos, limit))
        pos = steps[-1].pos
    return steps


def layouts_of(control, inode):
    return {e.layout for e in control.core.store.space.iter_extents(inode.ino)}


CHANGES = [
    {"unit": 4096}, {"unit": MIB}, {"width": 1}, {"width": 3}, {"program": "reverse"},
    {"program": "declustered", "unit": 12288}, {"program": "linear", "width": 2},
]  # fmt: skip


@pytest.mark.parametrize(("changes", "limit"), [
    *((changes, MIB) for changes in CHANGES), (CHANGES[0], 256 * MIB), (CHANGES[1], 1),
], ids=str)  # fmt: skip
async def test_a_file_moves_with_all_its_bytes(live, changes, limit):
    inode, data = await filled(live, 5 * MIB - 77)
    target = await other_layout(live, **changes)
    steps = await migrate(live, inode, target, limit)
    assert sum(step.moved for step in steps) >= len(data)
    assert inode.layout == target
    assert layouts_of(live, inode) == {target}
    assert await contents(live, inode) == data
    await assert_sound(live)
    after = reopened(live)
    assert await contents(after, after.core.inode(inode.ino)) == data


@pytest.mark.parametrize(("program", "mapper"), [
    ("raid0", "upcall"), ("rotated", "cache"), ("reverse", "program"), ("declustered", "program"),
])  # fmt: skip
async def test_a_file_moves_out_of_every_program_under_every_strategy(
    tmp_path, nursery, program, mapper
):
    source = (PROGRAMS / f"{program}.py").read_text()
    control = make_control(tmp_path / "s.db", source=source, mapper=mapper)
    nursery.start_soon(control.points.run)
    inode, data = await filled(control, 6 * MIB + 1)
    assert await contents(control, inode) == data
    await migrate(control, inode, await other_layout(control), 2 * MIB)
    assert await contents(control, inode) == data
    await assert_sound(control)
    control.core.store.close()


async def test_holes_preallocation_and_unwritten_parts_stay_what_they_are(live):
    inode = new_file(live)
    data = bytearray(6 * MIB)
    for pos, length in ((0, 5000), (ROW + 100, 3 * ROW), (4 * MIB, 1), (6 * MIB - 9, 9)):
        data[pos : pos + length] = b"d" * length
        await live.files.write(inode, pos, b"d" * length)
    await live.reserver.allocate(inode, 5 * MIB, 3 * MIB, keep_size=True)
    await live.room.trim(inode)
    space = live.core.store.space
    await live.points.make()
    before = (space.written(inode.ino), space.allocated(inode.ino))
    steps = await migrate(live, inode, await other_layout(live), MIB)
    assert sum(step.copied for step in steps) < sum(step.moved for step in steps)
    assert (space.written(inode.ino), space.allocated(inode.ino)) == before
    assert inode.size == len(data)
    assert await contents(live, inode) == data
    await assert_sound(live)


async def test_a_second_time_there_is_nothing_to_move(live):
    inode, _ = await filled(live, 3 * MIB)
    target = await other_layout(live)
    await migrate(live, inode, target)
    before = list(live.core.store.space.iter_extents(inode.ino))
    (step,) = await migrate(live, inode, target)
    assert (step.moved, step.copied) == (0, 0)
    assert list(live.core.store.space.iter_extents(inode.ino)) == before


async def test_an_empty_file_gets_the_layout_for_what_comes(live):
    inode, target = new_file(live), await other_layout(live)
    await migrate(live, inode, target)
    await live.files.write(inode, 0, b"x" * MIB)
    assert layouts_of(live, inode) == {target}


async def test_what_is_written_between_two_steps_is_there_in_the_end(live):
    inode, data = await filled(live, 4 * MIB)
    target, pos, done = await other_layout(live), 0, False
    chance = random.Random(5)
    while not done:
        step = await live.migrator.step(inode, target, pos, MIB // 2)
        pos, done = step.pos, step.done
        for at in (chance.randrange(len(data)), len(data)):
            new = chance.randbytes(chance.randrange(1, 100_000))
            data[at : at + len(new)] = new
            await live.files.write(inode, at, new)
        if chance.random() < 0.3:
            await live.puncher.punch(inode, at := chance.randrange(3 * MIB), 300_000)
            data[at : at + 300_000] = bytes(300_000)
    assert await contents(live, inode) == data
    assert layouts_of(live, inode) == {target}
    await assert_sound(live)


async def test_requests_wait_for_a_chunk_and_find_it_moved(live):
    inode, data = await filled(live, 8 * MIB)
    target = await other_layout(live)
    new = random.Random(9).randbytes(100_000)

    async def overwrite(pos):
        await live.files.write(inode, pos, new)
        data[pos : pos + len(new)] = new

    async with trio.open_nursery() as nursery:
        nursery.start_soon(migrate, live, inode, target, 2 * MIB)
        for pos in range(0, 8 * MIB - 100_000, MIB):
            await trio.lowlevel.checkpoint()
            nursery.start_soon(overwrite, pos)
            nursery.start_soon(live.files.read, inode, pos, MIB)
    assert await contents(live, inode) == data
    assert layouts_of(live, inode) == {target}
    await assert_sound(live)


async def test_old_space_waits_for_a_point_and_fdatasync_makes_one(live):
    inode, _ = await filled(live, 2 * MIB)
    await live.points.make()
    free = live.core.space.free
    await migrate(live, inode, await other_layout(live))
    assert live.core.space.held >= 2 * MIB
    # Else it would flush bytes to where a power cut leads nobody.
    await live.files.write(inode, 0, b"overwritten in place")
    points = live.points.counters.points
    await live.points.sync_inode(inode, data_only=True)
    assert live.points.counters.points == points + 1
    assert live.core.space.held == 0
    assert live.core.space.free >= free


async def test_a_volume_without_room_for_a_copy_keeps_the_file(tmp_path, nursery):
    control = make_control(tmp_path / "s.db", sizes=(2 * MIB,) * 4)
    nursery.start_soon(control.points.run)
    inode, data = await filled(control, 7 * MIB)
    hog = new_file(control, b"hog")
    assert await control.room.allocate(hog, 0, 8 * MIB, exactly=True) < 8 * MIB
    target = await other_layout(control)
    with pytest.raises(SpaceError, match="second copy"):
        await migrate(control, inode, target)
    assert await contents(control, inode) == data
    await assert_sound(control)
    # Room for a part is enough: what has moved gives its old space back.
    await control.files.truncate(hog, 0)
    await migrate(control, inode, target)
    assert await contents(control, inode) == data
    await assert_sound(control)
    control.core.store.close()


@pytest.mark.parametrize("writing", [False, True])
async def test_a_member_that_fails_in_the_middle_leaves_the_file_as_it_was(
    live, monkeypatch, writing
):
    inode, data = await filled(live, 4 * MIB)
    await live.points.make()
    before = list(live.core.store.space.iter_extents(inode.ino))
    free = live.core.space.free
    target = await other_layout(live)
    faulty = Faulty(monkeypatch)
    name, failing = ("write", 3) if writing else ("read", 3)
    transfer, count = getattr(live.core.io, name), 0

    async def fail(runs, buffer):
        nonlocal count
        count += 1
        if count == failing:
            faulty.fail(live.core.members[runs[0].member - 1])
        await transfer(runs, buffer)

    monkeypatch.setattr(live.core.io, name, fail)
    with pytest.raises(MemberError):
        await migrate(live, inode, target)
    monkeypatch.undo()
    await live.room.trim(inode)
    assert live.core.space.free >= free
    assert {e.layout for e in before} == layouts_of(live, inode)
    assert await contents(live, inode) == data
    await assert_sound(live)
    await migrate(live, inode, target)
    assert await contents(live, inode) == data


async def test_a_failed_flush_leaves_the_file_as_it_was(live, monkeypatch):
    inode, data = await filled(live, MIB)
    await live.points.make()
    layout, faulty = inode.layout, Faulty(monkeypatch)
    faulty.flushes.update((member.fd, errno.EIO) for member in live.core.members)
    with pytest.raises(MemberError, match="not durable"):
        await migrate(live, inode, await other_layout(live))
    assert layouts_of(live, inode) == {layout}
    assert await contents(live, inode) == data
    inode.fail()
    with pytest.raises(OSError, match="not durable"):
        await migrate(live, inode, await other_layout(live, unit=4096))


async def test_a_step_that_is_given_up_leaves_the_file_as_it_was(live):
    inode, data = await filled(live, 4 * MIB)
    target, free = await other_layout(live), live.core.space.free
    with trio.CancelScope() as scope:
        scope.cancel()
        await migrate(live, inode, target)
    assert scope.cancelled_caught
    await live.room.trim(inode)
    assert live.core.space.free >= free
    assert await contents(live, inode) == data
    await assert_sound(live)


async def test_a_point_under_way_and_a_migration_do_not_hurt_each_other(live, monkeypatch):
    inode, data = await filled(live, 2 * MIB)
    async with point_under_way(live, monkeypatch):
        await migrate(live, inode, await other_layout(live), MIB)
    assert await contents(live, inode) == data
    await assert_sound(live)
    assert live.core.store.space.written(inode.ino) == [(0, 2 * MIB)]


@pytest.mark.parametrize("settled", [True, False])
async def test_a_killed_server_loses_nothing_of_what_moved(tmp_path, nursery, settled):
    killed = Killed(tmp_path)
    nursery.start_soon(killed.control.points.run)
    target = await other_layout(killed.control)
    inode = killed.make(b"f")
    data = bytearray(random.Random(3).randbytes(4 * MIB))
    for at in range(0, len(data), MIB):
        await killed.control.files.write(inode, at, bytes(data[at : at + MIB]))
    if settled:
        await killed.control.points.make()
        data[MIB - 5000 : MIB + 5000] = b"y" * 10_000
        await killed.control.files.write(inode, MIB - 5000, b"y" * 10_000)
    await killed.control.files.write(inode, 9 * MIB, b"fresh beyond a hole")
    data += bytes(5 * MIB) + b"fresh beyond a hole"
    await killed.control.migrator.step(inode, target, 0, MIB + MIB // 2)
    killed.kill()
    assert await killed.read(b"f") == data
    killed.control.core.store.close()


@pytest.mark.parametrize("before_commit", [True, False])
async def test_a_server_killed_at_the_commit_shows_one_place_or_the_other(
    tmp_path, nursery, monkeypatch, before_commit
):
    killed = Killed(tmp_path)
    control = killed.control
    nursery.start_soon(control.points.run)
    target, inode = await other_layout(control), killed.make(b"f")
    data = random.Random(4).randbytes(MIB)
    await control.files.write(inode, 0, data)
    where = (control.migrator, "_commit") if before_commit else (control.core.marks, "replace")
    monkeypatch.setattr(*where, lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        await migrate(control, inode, target)
    killed.kill()
    assert (layouts_of(killed.control, inode) == {target}) is not before_commit
    assert await killed.read(b"f") == data
    killed.control.core.store.close()


async def test_what_a_point_is_committing_moves_along(tmp_path, nursery, monkeypatch):
    killed = Killed(tmp_path)
    control, inode = killed.control, killed.make(b"f")
    target = await other_layout(control)
    data = random.Random(6).randbytes(MIB)
    await control.files.write(inode, 0, data)

    async def die(*_):
        await migrate(control, inode, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(control.points, "_commit", die)
    with pytest.raises(KeyboardInterrupt):
        await control.points.make_now()
    killed.kill()
    assert await killed.read(b"f") == data
    killed.control.core.store.close()


async def test_what_cannot_be_migrated_says_why(live):
    top, target = live.core.inode(1), await other_layout(live)
    with pytest.raises(UsageError, match="regular files"):
        await migrate(live, top, target)
    inode, _ = await filled(live, MIB)
    live.core.read_only = True
    with pytest.raises(OSError, match="read-only"):
        await migrate(live, inode, target)
    live.core.read_only = False
    live.core.table.drop(inode.ino)
    with pytest.raises(OSError, check=lambda exc: exc.errno == errno.ESTALE):
        await migrate(live, inode, target)


async def test_the_request_knows_the_directory(live):
    target = await other_layout(live)
    inode, data = await filled(live, 2 * MIB)
    await live.points.make()
    ask = live.handlers()["migrate"]
    assert (await ask({"path": "/f"}))["done"]  # in its own directory's layout already
    directory = next(i for i in range(2, 9) if live.core.table.get(i).layout == target)
    answer = await ask({"ino": inode.ino, "directory": directory, "limit": MIB})
    assert (answer["end"], answer["copied"], answer["done"]) == (2 * MIB, MIB, False)
    assert await contents(live, inode) == data
    live.names.unlink(1, b"f")
    with pytest.raises(UsageError, match="no name"):
        await ask({"ino": inode.ino})


def test_chunks():
    def chunk(limit, *extents, cut=lambda e, most: 0):
        found = chunk_of(list(extents), limit, cut)
        return [e.offset for e in found.old], found.end

    one, two, far = extent(0, ROW, 4), extent(ROW, 2 * ROW, 4), extent(9 * ROW, ROW, 4)
    assert chunk(9 * ROW, one, two, far) == ([0, ROW, 9 * ROW], 10 * ROW)
    assert chunk(3 * ROW, one, two, far) == ([0, ROW], 3 * ROW)
    assert chunk(2 * ROW, one, two, far) == ([0], ROW)
    assert chunk(2 * ROW, one, two, far, cut=lambda e, most: most) == ([0, ROW], 2 * ROW)
    assert chunk(1, two, far) == ([ROW], 3 * ROW)
    assert chunk(ROW, two, far, cut=lambda e, most: most) == ([ROW], 2 * ROW)
