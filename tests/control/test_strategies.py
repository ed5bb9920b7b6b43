# SPDX-License-Identifier: MIT
"""Every shipped program behind every strategy: the same bytes, at the places the map names."""

import os
import random
from pathlib import Path

import pytest

from iomapd.control import report
from iomapd.errors import BadMappingError, ProgramError, UsageError
from iomapd.meta.store import Store
from tests.control.conftest import MIB, make_control, reopened

PROGRAMS = sorted(p.stem for p in (Path(__file__).parents[2] / "programs").glob("*.py"))
STRATEGIES = ["upcall", "cache", "program"]
CASES = [(p, m) for p in PROGRAMS for m in STRATEGIES] + [("raid0", "record"), ("linear", "record")]
REVERSED = """
from iomapd.abi import HANDLED

def iomap_begin(ctx):
    blocks = ctx.strip_length // 4096
    block = ctx.pos // 4096
    ctx.strip = block // 256 % ctx.nr_strips
    ctx.addr = ctx.pos
    ctx.length = 4096
    return HANDLED
"""
BOMB = """
from iomapd.abi import HANDLED

def iomap_begin(ctx):
    unit_index = ctx.pos // ctx.unit
    row = unit_index // ctx.nr_strips
    within = ctx.pos - unit_index * ctx.unit
    ctx.strip = unit_index - row * ctx.nr_strips
    ctx.addr = row * ctx.unit + within
    if ctx.seed == SEED and ctx.pos == 1048576:
        ctx.addr = 0
    ctx.length = min(ctx.unit - within, 4096)
    return HANDLED
"""


def close(control):
    control.core.store.close()
    for member in control.core.members:
        member.close()


def members_at_map(control, inode):
    """The file, read from the members at what the map says."""
    body = report.map_file(control.core, inode)
    fds = {m.index: m.fd for m in control.core.members}
    data = bytearray(body["size"])
    for piece in body["extents"]:
        if piece["type"] == "mapped":
            start, end = piece["offset"], min(piece["offset"] + piece["length"], body["size"])
            data[start:end] = os.pread(fds[piece["member"]], end - start, piece["address"])
    return bytes(data)


@pytest.mark.parametrize(("program", "mapper"), CASES)
async def test_the_members_hold_the_file_where_the_map_says(tmp_path, nursery, program, mapper):
    control = make_control(tmp_path / "s.db", sizes=(16 * MIB,) * 4, mapper=mapper)
    nursery.start_soon(control.points.run)
    rng = random.Random(program)
    width = 1 if mapper == "record" and program != "raid0" else 0
    await control.layouts.set(
        control.core.inode(1), program=program, width=width, **params_of(program)
    )
    inode = control.names.make(1, b"f", 0o100644, (0, 0))
    model = bytearray()
    for _ in range(40):
        pos = rng.choice([len(model), rng.randrange(6 * MIB)])
        data = rng.randbytes(rng.choice([100, 4096, 70_000, 600_000]))
        await control.files.write(inode, pos, data)
        model.extend(bytes(max(0, pos + len(data) - len(model))))
        model[pos : pos + len(data)] = data
        if rng.random() < 0.1:
            size = rng.randrange(len(model))
            await control.files.truncate(inode, size)
            del model[size:]
    control.room.trim_quiet(inode)
    await control.points.make()
    assert bytes(await control.files.read(inode, 0, 1 << 30)) == model
    assert members_at_map(control, inode) == model
    again = reopened(control)
    assert not again.core.problems
    assert again.core.space.free == control.core.space.free
    inode = again.core.inode(inode.ino)
    assert bytes(await again.files.read(inode, 0, 1 << 30)) == model
    close(again)


def params_of(program):
    from iomapd.volume.program_source import ProgramSource, param_names

    path = Path(__file__).parents[2] / "programs" / f"{program}.py"
    names = param_names(ProgramSource(program, path.read_text(), path))
    return {"params": dict.fromkeys(names, 16384)} if names else {}


async def test_a_program_that_is_no_bijection_is_refused_with_its_place(live):
    with pytest.raises(UsageError, match="mine"):
        await live.layouts.set(live.core.inode(1), program="mine", source=REVERSED)
    assert len(live.core.store.programs()) == 1


async def test_a_time_bomb_for_one_file_gives_that_file_eio_and_is_named(live):
    victim = live.core.inode(1).ino + 3
    source = BOMB.replace("SEED", str(victim))
    await live.layouts.set(live.core.inode(1), program="bomb", source=source)
    for name in (b"a", b"b", b"c"):
        inode = live.names.make(1, name, 0o100644, (0, 0))
        if inode.ino == victim:
            with pytest.raises(BadMappingError, match="program bomb"):
                await live.files.write(inode, 0, b"x" * 4 * MIB)
        else:
            assert await live.files.write(inode, 0, b"x" * 4 * MIB) == 4 * MIB
    total = sum(e.length for e in live.core.store.iter_extents())
    assert live.core.space.free == sum(live.core.data_size_of.values()) - total


async def test_a_changed_program_is_for_new_files_only(live):
    old = live.names.make(1, b"old", 0o100644, (0, 0))
    await live.files.write(old, 0, b"o" * MIB)
    await live.points.make()
    before = members_at_map(live, old)
    await live.layouts.set(live.core.inode(1), program="reverse")
    new = live.names.make(1, b"new", 0o100644, (0, 0))
    await live.files.write(new, 0, b"n" * MIB)
    programs = {
        name: {p["program"] for p in report.map_file(live.core, inode)["extents"]}
        for name, inode in (("old", old), ("new", new))
    }
    assert programs == {"old": {"raid0"}, "new": {"reverse"}}
    assert members_at_map(live, old) == before == b"o" * MIB


async def test_the_built_in_formula_is_not_used_for_other_maps(live):
    await live.layouts.set(live.core.inode(1), program="reverse")
    core = live.core
    core.store.close()
    from iomapd.control.mount import ControlPlane

    store = Store.open(core.store.path)
    control = ControlPlane(store, core.members, read_only=True, mapper="record")
    with pytest.raises(ProgramError, match="mapper=record: program reverse"):
        control.begin()


def test_a_mount_that_could_serve_next_to_nothing_is_refused(tmp_path):
    control = make_control(tmp_path / "s.db", source="def iomap_begin(ctx):\n    return 1 / 0\n")
    with pytest.raises(ProgramError, match="program raid0 of the volume"):
        control.begin()
    close(control)


SOMETIMES = """
from iomapd.abi import HANDLED

def iomap_begin(ctx):
    unit_index = ctx.pos // ctx.unit
    row = unit_index // ctx.nr_strips
    within = ctx.pos - unit_index * ctx.unit
    ctx.strip = unit_index - row * ctx.nr_strips
    if ctx.strip_length == 2818048:
        row = ctx.strip_length // ctx.unit - 1 - row
    ctx.addr = row * ctx.unit + within
    ctx.length = ctx.unit - within
    return HANDLED
"""


async def test_a_cut_trusts_the_extents_own_proof_not_the_ladders(live):
    await live.layouts.set(live.core.inode(1), program="sometimes", source=SOMETIMES)
    inode = live.names.make(1, b"f", 0o100644, (0, 0))
    data = random.Random(5).randbytes(43 * 4 * 65536)
    await live.files.write(inode, 0, data)
    assert {e.strip_length for e in live.core.store.iter_extents()} == {43 * 65536}
    await live.files.truncate(inode, 5 * MIB)
    assert bytes(await live.files.read(inode, 0, 1 << 30)) == data[: 5 * MIB]


async def test_extents_of_a_fixed_program_are_kept_or_freed_whole(live):
    await live.layouts.set(live.core.inode(1), program="reverse")
    inode = live.names.make(1, b"f", 0o100644, (0, 0))
    data = random.Random(5).randbytes(6 * MIB)
    for pos in range(0, len(data), MIB):
        await live.files.write(inode, pos, data[pos : pos + MIB])
    before = list(live.core.store.iter_extents())
    await live.files.truncate(inode, 5 * MIB // 2)
    after = list(live.core.store.iter_extents())
    assert set(after) < set(before), "none was cut"
    assert bytes(await live.files.read(inode, 0, 1 << 30)) == data[: 5 * MIB // 2]
