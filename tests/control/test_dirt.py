# SPDX-License-Identifier: MIT
"""A point comes before its time when a power cut would take much."""

import pytest
import trio

from iomapd.control import dirt
from iomapd.control.points import INTERVAL_S, LOOK_S
from tests.control.conftest import MIB


def new_file(control):
    return control.names.make(1, b"f", 0o100644, (0, 0))


@pytest.fixture
async def begun(live, monkeypatch, autojump_clock):
    """Points that begin, by their time, s; nothing is made by them but the copy."""
    begun, start = [], trio.current_time()

    async def make_now():
        begun.append(trio.current_time() - start)
        live.points.dirt.taken()

    monkeypatch.setattr(live.points, "make_now", make_now)
    return begun


async def test_a_point_comes_early_when_much_was_written(live, begun, monkeypatch):
    monkeypatch.setattr(dirt, "ENOUGH", 2 * MIB)
    inode = new_file(live)
    for _ in range(2):
        assert not begun
        await live.files.write(inode, 0, b"1" * MIB)
    await trio.sleep(LOOK_S * 1.5)
    assert len(begun) == 1
    assert begun[0] < INTERVAL_S


async def test_a_point_comes_early_when_much_was_freed(live, begun, monkeypatch):
    inode = new_file(live)
    await live.reserver.allocate(inode, 0, 2 * MIB, keep_size=False)
    monkeypatch.setattr(dirt, "ENOUGH", MIB)
    await live.files.truncate(inode, 0)
    assert live.core.space.held == 2 * MIB
    await trio.sleep(LOOK_S * 1.5)
    assert len(begun) == 1
    assert begun[0] < INTERVAL_S


async def test_what_lanes_write_counts(live, begun):
    live.points.dirt.written_by_lanes = lambda: dirt.ENOUGH
    await trio.sleep(LOOK_S * 1.5)
    assert len(begun) == 1


async def test_a_point_that_fails_is_not_repeated_at_each_look(live, begun):
    """What it could not free or flush is no news: the next comes at its time."""
    live.core.space.hold([(1, (0, dirt.ENOUGH))])
    live.core.unflushed.add(1)
    await trio.sleep(INTERVAL_S)
    assert len(begun) == 1
    await trio.sleep(INTERVAL_S)
    assert len(begun) == 2
