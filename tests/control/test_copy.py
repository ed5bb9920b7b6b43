# SPDX-License-Identifier: MIT
"""Copies inside the server: bytes, holes, ends."""

import errno
import random

import pytest

from iomapd.control import copy
from iomapd.errors import MemberError, SpaceError
from tests.control.conftest import MIB
from tests.control.soundness import allocated, assert_sound

OWNER = (0, 0)


def new_file(control, name):
    return control.names.make(1, name, 0o100644, OWNER)


async def contents(control, inode):
    return bytes(await control.files.read(inode, 0, inode.size))


@pytest.fixture
async def pair(live):
    source, target = new_file(live, b"s"), new_file(live, b"t")
    await live.files.write(source, 0, random.Random(1).randbytes(3 * MIB + 123))
    return live, source, target


@pytest.mark.parametrize(
    ("pos", "at", "length"),
    [(0, 0, 3 * MIB), (5, 4096, 100), (70_000, 1, 2 * MIB), (3 * MIB, MIB, 1 << 30)],
)
async def test_bytes(pair, pos, at, length):
    live, source, target = pair
    data = (await contents(live, source))[pos : pos + length]
    assert await live.copier.copy(source, pos, target, at, length) == len(data)
    assert await contents(live, target) == bytes(at) + data
    await assert_sound(live)


async def test_beyond_the_end_there_is_nothing(pair):
    live, source, target = pair
    assert await live.copier.copy(source, source.size, target, 0, MIB) == 0
    assert target.size == 0


async def test_inside_one_file(pair):
    live, source, _ = pair
    data = await contents(live, source)
    assert await live.copier.copy(source, 0, source, 2 * MIB, MIB) == MIB
    assert await contents(live, source) == data[: 2 * MIB] + data[:MIB] + data[3 * MIB :]
    for at in (0, 100, MIB - 1):
        with pytest.raises(OSError, match="overlap") as caught:
            await live.copier.copy(source, 0, source, at, MIB)
        assert caught.value.errno == errno.EINVAL


async def test_holes_stay_holes_and_cover_what_was_there(live):
    source, target = new_file(live, b"s"), new_file(live, b"t")
    await live.files.write(source, 2 * MIB, b"island")
    await live.files.truncate(source, 8 * MIB)
    assert await live.copier.copy(source, 0, target, 0, 8 * MIB) == 8 * MIB
    assert await contents(live, target) == await contents(live, source)
    await live.room.trim(target)
    # An island may get the rest of its row.
    assert allocated(live, target) <= 4 * 65536
    await live.files.write(target, 5 * MIB + 7, b"old" * 1000)
    assert await live.copier.copy(source, 0, target, 0, 8 * MIB) == 8 * MIB
    assert await contents(live, target) == await contents(live, source)
    await assert_sound(live)


async def test_a_request_has_an_end(pair, monkeypatch):
    live, source, target = pair
    monkeypatch.setattr(copy, "COPIED_MAX", MIB)
    assert await live.copier.copy(source, 0, target, 0, 3 * MIB) == MIB


async def test_a_full_volume_gives_what_fits_then_enospc(live):
    source, target = new_file(live, b"s"), new_file(live, b"t")
    total = sum(live.core.data_size_of.values())
    for pos in range(0, total // 4 * 3, MIB):
        await live.files.write(source, pos, b"s" * MIB)
    done = await live.copier.copy(source, 0, target, 0, total)
    assert 0 < done < total // 4 * 3
    assert await contents(live, target) == b"s" * done
    with pytest.raises(SpaceError):
        await live.copier.copy(source, done, target, done, MIB)
    await assert_sound(live)


async def test_a_fault_after_the_first_piece_gives_a_short_copy(pair, monkeypatch):
    live, source, target = pair
    write, calls = live.files.write, []

    async def failing(*args):
        calls.append(args)
        if len(calls) == 2:
            raise MemberError("a member failed")
        return await write(*args)

    monkeypatch.setattr(live.files, "write", failing)
    assert await live.copier.copy(source, 0, target, 0, 3 * MIB) == MIB
    assert len(calls) == 2
    calls.pop()
    with pytest.raises(MemberError):
        await live.copier.copy(source, MIB, target, MIB, MIB)


async def test_a_source_cut_meanwhile_raises_no_size(pair, monkeypatch):
    """Nothing is copied, so nothing of the target changes."""
    live, source, target = pair

    async def nothing(*_):
        return b""

    monkeypatch.setattr(live.files, "read", nothing)
    assert await live.copier.copy(source, 0, target, MIB, MIB) == 0
    assert target.size == 0
