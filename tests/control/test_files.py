# SPDX-License-Identifier: MIT
import random

import pytest
import trio

from iomapd.errors import SpaceError
from tests.control.conftest import MIB, make_control, reopened

OWNER = (0, 0)


def new_file(control, name=b"f"):
    return control.names.make(1, name, 0o100644, OWNER)


async def test_what_is_written_is_read(live):
    inode = new_file(live)
    data = random.Random(1).randbytes(3 * MIB + 123)
    for pos in range(0, len(data), 300_000):
        await live.files.write(inode, pos, data[pos : pos + 300_000])
    assert bytes(await live.files.read(inode, 0, 1 << 30)) == data
    assert bytes(await live.files.read(inode, 70_001, 500_000)) == data[70_001:570_001]


async def test_what_was_not_written_reads_as_zeros_not_as_what_lay_there(live):
    inode = new_file(live)
    await live.files.write(inode, 5000, b"x")
    assert bytes(await live.files.read(inode, 0, 5001)) == bytes(5000) + b"x"
    await live.files.truncate(inode, 100_000)
    assert bytes(await live.files.read(inode, 5001, 100_000)) == bytes(94_999)


async def test_a_gap_beyond_eof_is_zero_even_where_old_bytes_lie(live):
    inode = new_file(live)
    await live.files.write(inode, 0, b"a" * 4096)
    await live.files.truncate(inode, 10)
    await live.files.write(inode, 100, b"b")
    assert bytes(await live.files.read(inode, 0, 200)) == b"a" * 10 + bytes(90) + b"b"
    await live.files.truncate(inode, 20)
    await live.files.truncate(inode, 4096)
    assert bytes(await live.files.read(inode, 0, 5000)) == b"a" * 10 + bytes(4086)


async def test_two_first_writes_into_one_block_lose_nothing(live):
    inode = new_file(live)
    async with trio.open_nursery() as nursery:
        for part in range(8):
            nursery.start_soon(live.files.write, inode, part * 512, bytes([part + 1]) * 512)
    found = bytes(await live.files.read(inode, 0, 4096))
    assert found == b"".join(bytes([part + 1]) * 512 for part in range(8))


async def test_a_full_volume_gives_a_short_write_then_enospc(live):
    inode = new_file(live)
    total, written = sum(live.core.data_size_of.values()), 0
    while written < total:
        written += await live.files.write(inode, written, b"z" * min(MIB + 4096, total - written))
    assert written == total
    with pytest.raises(SpaceError):
        await live.files.write(inode, written, b"z")
    assert live.core.space.free == 0
    await live.files.truncate(inode, 0)
    await live.points.make()
    assert live.core.space.free == total


async def test_freed_space_is_given_out_only_after_a_point(live):
    inode = new_file(live)
    await live.files.write(inode, 0, b"z" * MIB)
    await live.points.make()
    before = live.core.space.free
    await live.files.truncate(inode, 0)
    assert live.core.space.free == before
    assert live.core.space.held == MIB
    await live.points.make()
    assert live.core.space.held == 0
    assert live.core.space.free == before + MIB


async def test_enospc_waits_for_a_point_before_it_is_said(live):
    first, second = new_file(live), new_file(live, b"g")
    total = sum(live.core.data_size_of.values())
    for pos in range(0, total, MIB):
        await live.files.write(first, pos, b"1" * MIB)
    await live.files.truncate(first, 0)
    assert await live.files.write(second, 0, b"2" * MIB) == MIB


async def test_speculation_of_others_is_given_up_on_shortage(live):
    grower, other = new_file(live), new_file(live, b"g")
    for pos in range(0, 4 * MIB, MIB):
        await live.files.write(grower, pos, b"1" * MIB)
    assert grower.ahead
    total, written = sum(live.core.data_size_of.values()), 0
    while written < total - 4 * MIB:
        written += await live.files.write(other, written, b"2" * MIB)
    with pytest.raises(SpaceError):
        await live.files.write(other, written, b"2")
    assert bytes(await live.files.read(grower, 3 * MIB, MIB)) == b"1" * MIB


async def test_last_close_trims_what_was_made_ahead(live):
    inode = new_file(live)
    inode.opens = 1
    free = live.core.space.free
    for pos in range(0, 3 * MIB, MIB):
        await live.files.write(inode, pos, b"1" * MIB)
    assert free - live.core.space.free > 3 * MIB
    await live.closed(inode)
    assert free - live.core.space.free == 3 * MIB
    assert bytes(await live.files.read(inode, 0, 3 * MIB)) == b"1" * 3 * MIB


async def test_a_large_file_asks_a_handful_of_times(tmp_path, nursery):
    control = make_control(tmp_path / "s.db", sizes=(64 * MIB,) * 4)
    nursery.start_soon(control.points.run)
    inode = new_file(control)
    for pos in range(0, 128 * MIB, MIB):
        await control.files.write(inode, pos, b"1" * MIB)
    assert len(list(control.core.store.space.iter_extents(inode.ino))) <= 16
    control.core.store.close()
    for member in control.core.members:
        member.close()


async def test_after_a_crash_only_what_a_point_covered_is_there(live):
    inode = new_file(live)
    await live.files.write(inode, 0, b"1" * 10_000)
    await live.points.make()
    await live.files.write(inode, 10_000, b"2" * 10_000)
    again = reopened(live)
    found = again.core.inode(inode.ino)
    assert found.size == 10_000
    assert bytes(await again.files.read(found, 0, 99_999)) == b"1" * 10_000
    live.core.store = again.core.store


async def test_a_truncate_during_a_point_is_not_undone_by_it(live, monkeypatch):
    inode = new_file(live)
    await live.files.write(inode, 0, b"1" * MIB)
    entered, go_on = trio.Event(), trio.Event()
    flush = live.core.io.flush

    async def slow_flush(members):
        entered.set()
        await go_on.wait()
        return await flush(members)

    monkeypatch.setattr(live.core.io, "flush", slow_flush)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live.points.make)
        await entered.wait()
        await live.files.truncate(inode, 5000)
        go_on.set()
    assert live.core.store.names.inode(inode.ino).size == 5000
    assert live.core.store.space.written(inode.ino) == [(0, 8192)]


@pytest.mark.parametrize("seed", range(6))
async def test_random_operations_match_one_big_bytearray(tmp_path, nursery, seed):
    rng = random.Random(seed)
    sizes = [rng.choice([2, 3, 5]) * MIB for _ in range(rng.randint(1, 5))]
    unit = rng.choice([4096, 16384, 65536])
    control = make_control(tmp_path / "s.db", sizes=sizes, unit=unit, strip_min=unit)
    nursery.start_soon(control.points.run)
    inode, model = new_file(control), bytearray()
    inode.opens = 1
    for _ in range(150):
        pos, count = rng.randrange(1_200_000), rng.choice([1, 500, 4096, 70_000, 200_000])
        match rng.choice(["write", "write", "append", "read", "truncate", "point", "close"]):
            case "write" | "append" as how:
                pos = len(model) if how == "append" and len(model) < 1_200_000 else pos
                data = rng.randbytes(count)
                assert await control.files.write(inode, pos, data) == count
                model.extend(bytes(max(0, pos + count - len(model))))
                model[pos : pos + count] = data
            case "read":
                assert (
                    bytes(await control.files.read(inode, pos, count)) == model[pos : pos + count]
                )
            case "truncate":
                await control.files.truncate(inode, pos)
                model = model[:pos] + bytes(max(0, pos - len(model)))
            case "point":
                await control.points.make()
            case "close":
                await control.closed(inode)
                inode.opens = 1
        assert inode.size == len(model)
    assert bytes(await control.files.read(inode, 0, 1 << 30)) == model
    await control.points.make()
    again = reopened(control)
    assert not again.core.problems
    assert bytes(await again.files.read(again.core.inode(inode.ino), 0, 1 << 30)) == model
    assert again.core.space.free == control.core.space.free
    again.core.store.close()
    for member in again.core.members:
        member.close()
