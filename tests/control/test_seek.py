# SPDX-License-Identifier: MIT
"""SEEK_DATA and SEEK_HOLE from marks, and pages that were not written back."""

import errno

import pytest

from iomapd.control.seek import seek_data, seek_hole
from tests.control.conftest import MIB

OWNER = (0, 0)


@pytest.fixture
async def islands(live):
    """Data in [1, 1.5) MiB and [2 MiB, 2 MiB + 10); the file ends at 3 MiB."""
    inode = live.names.make(1, b"f", 0o100644, OWNER)
    await live.files.write(inode, MIB, b"x" * (MIB // 2))
    await live.files.write(inode, 2 * MIB, b"x" * 10)
    await live.files.truncate(inode, 3 * MIB)
    return live, inode


async def data(live, inode, pos, flush=None):
    try:
        return await seek_data(live.core.marks, inode, pos, flush)
    except OSError as exc:
        return -exc.errno


async def hole(live, inode, pos, flush=None):
    try:
        return await seek_hole(live.core.marks, inode, pos, flush)
    except OSError as exc:
        return -exc.errno


async def test_positions(islands):
    one, end, two = MIB, MIB + MIB // 2, 2 * MIB
    expected_data = {0: one, one - 1: one, one: one, end - 1: end - 1, end: two, two + 9: two + 9}
    assert {pos: await data(*islands, pos) for pos in expected_data} == expected_data
    expected_hole = {0: 0, one - 1: one - 1, one: end, end - 1: end, end: end, two: two + 4096}
    assert {pos: await hole(*islands, pos) for pos in expected_hole} == expected_hole


async def test_the_end(islands):
    live, inode = islands
    assert await data(live, inode, 2 * MIB + 4096) == -errno.ENXIO
    for pos in (3 * MIB, 3 * MIB + 1, 1 << 62):
        assert await data(live, inode, pos) == -errno.ENXIO
        assert await hole(live, inode, pos) == -errno.ENXIO
    await live.files.truncate(inode, 2 * MIB + 5)
    assert await hole(live, inode, 2 * MIB) == 2 * MIB + 5
    await live.files.truncate(inode, 0)
    assert await data(live, inode, 0) == -errno.ENXIO


async def test_preallocated_space_is_a_hole(islands):
    live, inode = islands
    await live.reserver.allocate(inode, 0, 3 * MIB, keep_size=False)
    assert await data(live, inode, 0) == MIB
    await live.puncher.punch(inode, MIB, 1 << 20)
    assert await data(live, inode, 0) == 2 * MIB


async def test_a_dirty_page_in_a_hole_is_found_by_writing_it_back(islands):
    live, inode = islands
    asked = []

    async def write_back(ino, start, end):
        asked.append((ino, start, end))
        if start <= 8192 < end:
            await live.files.write(inode, 8192, b"m" * 4096)

    assert await data(live, inode, 0, write_back) == 8192
    assert asked[0] == (inode.ino, 0, MIB)
    asked.clear()
    # Data needs no asking, and a hole only itself.
    assert await data(live, inode, MIB, write_back) == MIB
    assert asked == []
    assert await hole(live, inode, MIB, write_back) == MIB + MIB // 2
    assert asked == [(inode.ino, MIB + MIB // 2, 2 * MIB)]


async def test_a_hole_that_turns_out_to_be_data_is_passed(islands):
    live, inode = islands

    async def write_back(_, start, end):
        if start < 2 * MIB:
            await live.files.write(inode, start, b"m" * (end - start))

    assert await hole(live, inode, 0, write_back) == 2 * MIB + 4096
