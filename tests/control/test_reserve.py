# SPDX-License-Identifier: MIT
"""Preallocation: space without data, and what becomes of it."""

import errno
import itertools

import pytest

from iomapd.control.reserve import STEP, _steps
from iomapd.errors import SpaceError
from tests.control.conftest import MIB, make_control, reopened
from tests.control.soundness import allocated, assert_sound

OWNER = (0, 0)


def new_file(control, name=b"f"):
    return control.names.make(1, name, 0o100644, OWNER)


async def contents(control, inode):
    return bytes(await control.files.read(inode, 0, inode.size))


@pytest.mark.parametrize(("pos", "length"), [(0, MIB), (0, 1), (5000, 1), (70_000, 300_000)])
async def test_preallocated_space_reads_as_zeros_and_is_exactly_what_was_asked_for(
    live, pos, length
):
    inode = new_file(live)
    await live.reserver.allocate(inode, pos, length, keep_size=False)
    assert inode.size == pos + length
    assert await contents(live, inode) == bytes(pos + length)
    low, high = pos // 4096 * 4096, -(-(pos + length) // 4096) * 4096
    assert allocated(live, inode) == high - low
    await assert_sound(live)


async def test_what_was_written_stays(live):
    inode = new_file(live)
    await live.files.write(inode, 100_000, b"kept")
    await live.reserver.allocate(inode, 0, MIB, keep_size=False)
    assert await contents(live, inode) == bytes(100_000) + b"kept" + bytes(MIB - 100_004)
    await assert_sound(live)


async def test_space_beyond_eof_survives_the_last_close_and_a_crash(live):
    inode = new_file(live)
    inode.opens = 1
    await live.files.write(inode, 0, b"x")
    await live.reserver.allocate(inode, 0, 3 * MIB, keep_size=True)
    await live.closed(inode)
    assert inode.size == 1
    assert allocated(live, inode) == 3 * MIB
    await assert_sound(live)
    after = reopened(live)
    found = after.core.inode(inode.ino)
    assert (found.size, allocated(after, found)) == (1, 3 * MIB)


async def test_a_truncate_gives_space_beyond_eof_back(live):
    inode = new_file(live)
    before = live.core.space.free
    await live.reserver.allocate(inode, 0, 3 * MIB, keep_size=True)
    await live.files.truncate(inode, 0)
    await assert_sound(live)
    assert live.core.space.free == before


async def test_speculation_that_is_asked_for_becomes_lasting_and_ends_there(live):
    inode = new_file(live)
    inode.opens = 1
    for pos in range(0, 2 * MIB, MIB):
        await live.files.write(inode, pos, b"1" * MIB)
    assert any(e.speculative for e in live.core.store.space.iter_extents(inode.ino))
    await live.reserver.allocate(inode, 2 * MIB, MIB // 2, keep_size=True)
    await live.closed(inode)
    assert allocated(live, inode) == 2 * MIB + MIB // 2
    assert await contents(live, inode) == b"1" * 2 * MIB
    await assert_sound(live)


async def test_what_does_not_fit_is_refused_before_anything_is_made(live):
    inode = new_file(live)
    total = sum(live.core.data_size_of.values())
    with pytest.raises(SpaceError):
        await live.reserver.allocate(inode, 0, total + 4096, keep_size=False)
    assert (inode.size, allocated(live, inode), live.core.space.free) == (0, 0, total)
    await live.reserver.allocate(inode, 0, total, keep_size=True)
    assert live.core.space.free == 0
    await live.files.write(inode, total - 10, b"it fits")
    await assert_sound(live)


async def test_freed_space_is_found_by_a_point_and_speculation_by_a_trim(live):
    first, second = new_file(live), new_file(live, b"g")
    total = sum(live.core.data_size_of.values())
    for pos in range(0, total // 2, MIB):
        await live.files.write(first, pos, b"1" * MIB)
    await live.files.truncate(first, 4 * MIB)
    await live.reserver.allocate(second, 0, total - 4 * MIB, keep_size=False)
    await assert_sound(live)


async def test_a_zeroed_range_reads_as_zeros_and_keeps_its_space(live):
    inode = new_file(live)
    data = bytes(range(1, 251)) * 4000
    await live.files.write(inode, 0, data)
    before = allocated(live, inode)
    await live.reserver.zero(inode, 5000, 700_000, keep_size=False)
    assert await contents(live, inode) == data[:5000] + bytes(700_000) + data[705_000:]
    assert allocated(live, inode) == before
    await live.reserver.zero(inode, 999_000, 500_000, keep_size=True)
    assert inode.size == len(data)
    await live.reserver.zero(inode, 999_000, 500_000, keep_size=False)
    assert (await contents(live, inode))[705_000:] == data[705_000:999_000] + bytes(500_000)
    await assert_sound(live)


async def test_the_limits(live):
    inode = new_file(live)
    with pytest.raises(OSError, match="largest") as caught:
        await live.reserver.allocate(inode, (1 << 63) - 5000, 4999, keep_size=True)
    assert caught.value.errno == errno.EFBIG
    live.core.read_only = True
    for call in (live.reserver.allocate, live.reserver.zero):
        with pytest.raises(OSError, match="read-only") as caught:
            await call(inode, 0, 1, keep_size=True)
        assert caught.value.errno == errno.EROFS
    live.core.read_only = False


async def test_every_strategy_reserves_and_reads(tmp_path, nursery):
    for mapper in ("record", "cache", "upcall"):
        control = make_control(tmp_path / f"{mapper}.db", mapper=mapper)
        nursery.start_soon(control.points.run)
        inode = new_file(control)
        await control.reserver.allocate(inode, 0, 2 * MIB, keep_size=False)
        await control.files.write(inode, 70_000, b"x" * 100_000)
        await control.puncher.punch(inode, 100_000, 10_000)
        wanted = bytes(70_000) + b"x" * 30_000 + bytes(10_000) + b"x" * 60_000
        assert (await contents(control, inode))[:170_000] == wanted
        await assert_sound(control)


def test_steps_cover_a_range_and_end_with_a_row():
    row, low, high = 3 * 65536, 4096, 5 * STEP + 4096
    steps = _steps(low, high, row)
    assert [steps[0][0], steps[-1][1]] == [low, high]
    assert all(one[1] == other[0] for one, other in itertools.pairwise(steps))
    assert all(end % row == 0 for _, end in steps[:-1])
    assert _steps(0, 4096, row) == [(0, 4096)]
