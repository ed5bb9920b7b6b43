# SPDX-License-Identifier: MIT
"""Programs that take each other's place on a live mount, and those that may not."""

import dataclasses
import random
from pathlib import Path

import pytest
import trio

from iomapd.control import exchange
from iomapd.errors import ProgramError, UsageError
from tests.control.conftest import MIB, RAID0, make_control, reopened
from tests.control.soundness import assert_sound

OWNER = (0, 0)
PROGRAMS = Path(__file__).parents[2] / "programs"

# The same map, said otherwise: a modulo, and lengths of one block.
SAME = '''
"""RAID0 by remainders, block by block."""

from iomapd.abi import HANDLED

BLOCK = 4096


def iomap_begin(ctx):
    row = ctx.pos // ctx.unit // ctx.nr_strips
    ctx.strip = ctx.pos // ctx.unit % ctx.nr_strips
    ctx.addr = row * ctx.unit + ctx.pos % ctx.unit
    ctx.length = BLOCK
    return HANDLED
'''.lstrip()

# Another map, far inside large extents alone: the ladder does not see it.
FAR = SAME.replace(
    "ctx.strip = ctx.pos // ctx.unit % ctx.nr_strips",
    "turn = 1 if ctx.unit == 8192 and ctx.strip_length == 13 * 8192 and row == 7 else 0\n"
    "    ctx.strip = (ctx.pos // ctx.unit + turn) % ctx.nr_strips",
)
CHUNKS = '''
"""Like interleave with two parameters, in another order."""

from iomapd.abi import HANDLED

PARAMS = ("second", "first")


def iomap_begin(ctx):
    first = abs(ctx.first) % 2
    unit_index = ctx.pos // ctx.unit
    row = unit_index // ctx.nr_strips
    ctx.strip = (unit_index + first + abs(ctx.second) % 2 * row) % ctx.nr_strips
    ctx.addr = row * ctx.unit + ctx.pos % ctx.unit
    ctx.length = ctx.unit - ctx.pos % ctx.unit
    return HANDLED
'''.lstrip()


async def replace(control, old, name, text=None):
    """Ask round after round; the last answer, and how many there were."""
    rounds = 0
    while True:
        answer = await control.exchanger.replace(old, name, text)
        rounds += 1
        if answer["done"]:
            return answer, rounds


async def filled(control, name, size=3 * MIB, parent=1):
    inode = control.names.make(parent, name, 0o100644, OWNER)
    data = random.Random(name).randbytes(size)
    for pos in range(0, size, MIB):
        await control.files.write(inode, pos, data[pos : pos + MIB])
    return inode, data


async def contents(control, inode):
    return bytes(await control.files.read(inode, 0, inode.size))


def programs_of(control, inode):
    extents = control.core.store.space.iter_extents(inode.ino)
    return {control.core.programs.behind(e)[0] for e in extents if len(e.strips) > 1}


def named(control, name):
    return {row.id for row in control.core.programs.rows.values() if row.name == name}


async def test_a_program_that_maps_alike_takes_the_place_of_another(live):
    inode, data = await filled(live, b"f")
    assert await contents(live, inode) == data  # with the old code in the caches
    before = list(live.core.store.space.iter_extents(inode.ino))
    answer, _ = await replace(live, "raid0", "same", SAME)
    assert (answer["old"]["name"], answer["new"]["name"]) == ("raid0", "same")
    assert answer["volume_program"] == "same"
    assert answer["proved"] == answer["total"] > 0
    await live.points.make()
    control = live
    for _ in range(2):
        again = control.core.inode(inode.ino)
        assert list(control.core.store.space.iter_extents(inode.ino)) == before
        assert programs_of(control, again) == named(control, "same")
        assert await contents(control, again) == data
        control = reopened(control)


async def test_new_files_are_made_by_the_new_program_and_old_ones_grow_by_it(live):
    inode, _ = await filled(live, b"old")
    await replace(live, "raid0", "same", SAME)
    await live.files.write(inode, 3 * MIB, bytes(2 * MIB))
    new, data = await filled(live, b"new")
    assert programs_of(live, inode) == programs_of(live, new) == named(live, "same")
    assert await contents(live, new) == data
    await assert_sound(live)


@pytest.mark.parametrize("name", ["reverse", "rotated", "linear"])
async def test_what_maps_otherwise_is_refused_with_the_first_position(live, name):
    inode, data = await filled(live, b"f")
    rows, layouts = dict(live.core.programs.rows), dict(live.core.layouts)
    place = r"to address \d+ of strip \d+ under "
    words = rf"block at pos \d+ goes {place}raid0@\w+ and {place}{name}@"
    with pytest.raises(ProgramError, match=words):
        await replace(live, "raid0", name)
    assert (live.core.programs.rows, live.core.layouts) == (rows, layouts)
    assert live.core.store.layouts() == layouts
    assert await contents(live, inode) == data


async def test_extents_that_are_there_count_however_odd(live):
    """The ladder knows no such geometry, an extent has it."""
    directory = live.names.make(1, b"d", 0o040755, OWNER)
    await live.layouts.set(directory, unit=8192, strip_min=8192)
    inode, _ = await filled(live, b"f", parent=directory.ino)
    (extent, *_) = [
        e for e in live.core.store.space.iter_extents(inode.ino) if e.strip_alloc > 13 * 8192
    ]
    await replace(live, "raid0", "far", FAR)
    cut = extent.trimmed(13 * 8192 * len(extent.strips))
    odd = dataclasses.replace(cut, strip_length=13 * 8192)
    with live.core.operation():
        live.core.store.space.put_extents([odd])
    with pytest.raises(ProgramError, match="for files that are there, the block at pos"):
        await replace(live, "far", "raid0", RAID0)


async def test_a_program_that_is_refused_takes_nobodys_place(live):
    for text in ("def iomap_begin(ctx):\n    while True:\n        pass\n", "import os\n"):
        with pytest.raises(ProgramError):
            await replace(live, "raid0", "mine", text)
        with pytest.raises(ProgramError):
            await live.exchanger.attach("mine", text)
    assert named(live, "mine") == set()


async def test_layouts_that_say_the_same_become_one(live):
    """The new program was tried on a directory before."""
    tried = live.names.make(1, b"tried", 0o040755, OWNER)
    old, data = await filled(live, b"old")
    await live.layouts.set(tried, program="same", source=SAME)
    root = live.core.inode(1)
    assert tried.layout != root.layout == live.core.store.root_layout
    await replace(live, "raid0", "same")
    assert tried.layout == root.layout == old.layout == live.core.store.root_layout
    assert {e.layout for e in live.core.store.space.iter_extents(old.ino)} == {tried.layout}
    await live.files.write(old, 3 * MIB, bytes(MIB))
    await assert_sound(live)
    after = reopened(live)
    assert after.core.store.root_layout == tried.layout
    assert await contents(after, after.core.inode(old.ino)) == data + bytes(MIB)
    assert after.core.inode(1).layout == tried.layout


async def test_parameters_follow_their_names(live):
    directory = live.names.make(1, b"d", 0o040755, OWNER)
    await live.layouts.set(
        directory, program="mine", source=CHUNKS, params={"first": 1, "second": 0}
    )
    inode, data = await filled(live, b"f", parent=directory.ino)
    turned = CHUNKS.replace('("second", "first")', '("first", "second")')
    with pytest.raises(ProgramError, match="program turned takes third, first"):
        await replace(live, "mine", "turned", CHUNKS.replace("second", "third"))
    await replace(live, "mine", "turned", turned)
    assert live.layouts.describe(directory)["params"] == {"first": 1, "second": 0}
    assert await contents(live, inode) == data


async def test_programs_are_told_apart_by_digest(live):
    directory = live.names.make(1, b"d", 0o040755, OWNER)
    await live.layouts.set(directory, program="raid0", source=SAME)
    with pytest.raises(UsageError, match=r"several: raid0@\w+, raid0@"):
        await replace(live, "raid0", "rotated")
    with pytest.raises(UsageError, match="none of this name; it has raid0"):
        await replace(live, "nonesuch", "raid0")
    old, new = live.core.programs.rows.values()
    await replace(live, f"raid0@{old.sha256[:8]}", f"raid0@{new.sha256[:8]}")
    assert live.core.layouts[live.core.inode(1).layout].program == new.id
    with pytest.raises(UsageError, match="very text"):
        await replace(live, "raid0", "raid0", SAME)
    with pytest.raises(UsageError, match="no file and no directory uses it"):
        await replace(live, f"raid0@{old.sha256}", "rotated")


async def test_it_goes_on_round_by_round_and_new_extents_join(live, monkeypatch):
    monkeypatch.setattr(exchange, "ROUND_BLOCKS", 1)
    directory = live.names.make(1, b"d", 0o040755, OWNER)
    await live.layouts.set(directory, unit=4096)
    await filled(live, b"f", parent=directory.ino)
    answer = await live.exchanger.replace("raid0", "same", SAME)
    assert not answer["done"]
    assert 0 < answer["proved"] < answer["total"]
    inode, data = await filled(live, b"late", 5 * MIB)
    last, rounds = await replace(live, "raid0", "same", SAME)
    assert rounds > 1
    assert last["total"] > answer["total"]
    assert programs_of(live, inode) == named(live, "same")
    assert await contents(live, inode) == data


async def test_requests_go_on_meanwhile(live):
    inode, data = await filled(live, b"f")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(replace, live, "raid0", "same", SAME)
        for pos in range(0, 3 * MIB, MIB // 4):
            await trio.lowlevel.checkpoint()
            assert bytes(await live.files.read(inode, pos, MIB)) == data[pos : pos + MIB]
    assert programs_of(live, inode) == named(live, "same")


async def test_a_store_that_fails_leaves_everything_as_it_was(live, monkeypatch):
    await filled(live, b"f")
    rows, layouts = dict(live.core.programs.rows), dict(live.core.layouts)
    monkeypatch.setattr(live.core.store, "replace_layout", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        await replace(live, "raid0", "same", SAME)
    assert (live.core.programs.rows, live.core.layouts) == (rows, layouts)
    assert live.core.store.programs() == rows
    monkeypatch.undo()
    await replace(live, "raid0", "same", SAME)


async def test_an_attached_program_waits_for_a_layout(live):
    found = await live.exchanger.attach("mine", CHUNKS)
    assert (found["name"], found["params"]) == ("mine", ["second", "first"])
    assert (await live.exchanger.attach("mine", CHUNKS)) == found
    after = reopened(live)
    top = after.core.inode(1)
    await after.layouts.set(top, program="mine", params={"first": 1, "second": 1})
    assert after.layouts.describe(top)["sha256"] == found["sha256"]
    with pytest.raises(UsageError, match="another name"):
        await after.exchanger.attach("raid0", SAME)


async def test_the_built_in_formula_is_replaced_by_raid0_alone(tmp_path, nursery):
    control = make_control(tmp_path / "s.db", mapper="record")
    nursery.start_soon(control.points.run)
    inode, data = await filled(control, b"f")
    with pytest.raises(ProgramError, match="mapper=record"):
        await replace(control, "raid0", "rotated")
    await replace(control, "raid0", "same", SAME)
    assert await contents(control, inode) == data
    control.core.store.close()
