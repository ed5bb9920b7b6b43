# SPDX-License-Identifier: MIT
"""Writes, truncates, holes, preallocation and copies at random, against a bytearray.

Every so often the server is killed without warning: what was acknowledged must be there.
"""

import os
import random

import pytest

from iomapd.control.seek import seek_data, seek_hole
from iomapd.errors import SpaceError
from tests.control.conftest import MIB
from tests.control.soundness import assert_sound
from tests.control.test_takeover import Killed

SIZE_MAX = 3 * MIB
STEPS = 60
SEEDS = 60 if os.environ.get("IOMAPD_SOAK") else 3


class Machine:
    """One file, and what it must hold."""

    def __init__(self, killed, seed):
        self.killed = killed
        self.chance = random.Random(seed)
        self.wanted = bytearray()
        killed.make(b"f")

    @property
    def control(self):
        return self.killed.control

    @property
    def inode(self):
        return self.killed.find(b"f")

    def range(self, limit=SIZE_MAX):
        unit = self.chance.choice([1, 1, 512, 4096, 65536, 262_144])
        start = self.chance.randrange(limit) // unit * unit
        return start, min(self.chance.randrange(1, MIB) // unit * unit + unit, limit - start)

    def put(self, pos, data):
        self.wanted += bytes(max(0, pos + len(data) - len(self.wanted)))
        self.wanted[pos : pos + len(data)] = data

    async def write(self):
        pos, length = self.range()
        data = self.chance.randbytes(length)
        await self.control.files.write(self.inode, pos, data)
        self.put(pos, data)

    async def truncate(self):
        size = self.chance.randrange(SIZE_MAX)
        await self.control.files.truncate(self.inode, size)
        self.wanted += bytes(max(0, size - len(self.wanted)))
        del self.wanted[size:]

    async def punch(self):
        pos, length = self.range()
        await self.control.puncher.punch(self.inode, pos, length)
        end = min(pos + length, len(self.wanted))
        if pos < end:
            self.wanted[pos:end] = bytes(end - pos)

    async def zero(self):
        pos, length = self.range()
        keep = self.chance.random() < 0.5
        await self.control.reserver.zero(self.inode, pos, length, keep_size=keep)
        end = min(pos + length, len(self.wanted)) if keep else pos + length
        if pos < end:
            self.put(pos, bytes(end - pos))

    async def allocate(self):
        pos, length = self.range()
        keep = self.chance.random() < 0.5
        await self.control.reserver.allocate(self.inode, pos, length, keep_size=keep)
        if not keep:
            self.wanted += bytes(max(0, pos + length - len(self.wanted)))

    async def copy(self):
        half = SIZE_MAX // 2
        pos, length = self.range(half)
        at = half + self.chance.randrange(half - length + 1)
        done = await self.control.copier.copy(self.inode, pos, self.inode, at, length)
        data = bytes(self.wanted[pos : pos + length])
        assert done == len(data)
        if data:
            self.put(at, data)

    async def close(self):
        await self.control.room.trim(self.inode)

    async def point(self):
        await self.control.points.make_now()

    async def kill(self):
        self.killed.kill()

    async def check(self):
        inode = self.inode
        assert inode.size == len(self.wanted)
        assert await self.killed.read(b"f") == self.wanted
        # Outside of what a seek calls data there is none.
        marks, pos = self.control.core.marks, 0
        while pos < inode.size:
            try:
                data = await seek_data(marks, inode, pos, None)
            except OSError:
                data = inode.size
            assert not any(self.wanted[pos:data])
            pos = await seek_hole(marks, inode, data, None) if data < inode.size else inode.size

    async def run(self):
        weights = {
            self.write: 8, self.truncate: 2, self.punch: 5, self.zero: 3, self.allocate: 3,
            self.copy: 3, self.close: 2, self.point: 2, self.kill: 1,
        }  # fmt: skip
        steps = self.chance.choices(list(weights), list(weights.values()), k=STEPS)
        for step in steps:
            await step()
            await self.check()


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_random_ranges_match_a_bytearray(tmp_path, nursery, seed):
    killed = Killed(tmp_path)
    machine = Machine(killed, seed)
    await machine.run()
    nursery.start_soon(killed.control.points.run)
    await assert_sound(killed.control)
    await killed.control.files.truncate(machine.inode, 0)
    await assert_sound(killed.control)
    core = killed.control.core
    assert core.space.free == sum(core.data_size_of.values())
    core.store.close()


async def fitting(control, inode, pos, data):
    try:
        return await control.files.write(inode, pos, data)
    except SpaceError:
        return 0


async def test_preallocation_is_a_promise_that_nobody_else_breaks(tmp_path, nursery):
    killed = Killed(tmp_path)
    control = killed.control
    nursery.start_soon(control.points.run)
    kept, greedy = killed.make(b"kept"), killed.make(b"greedy")
    await control.reserver.allocate(kept, 0, 8 * MIB, keep_size=True)
    pos, done = 0, 1
    while done:
        done = await fitting(control, greedy, pos, b"g" * MIB)
        pos += done
    assert pos == sum(control.core.data_size_of.values()) - 8 * MIB
    for at in range(0, 8 * MIB, MIB):
        assert await control.files.write(kept, at, b"k" * MIB) == MIB
    await assert_sound(control)
    control.core.store.close()
