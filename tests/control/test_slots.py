# SPDX-License-Identifier: MIT
import trio
from trio.testing import wait_all_tasks_blocked


async def test_a_holder_waits_until_no_slot_shows_and_newcomers_wait_for_it(control):
    inode, told, leave = control.core.inode(1), [], trio.Event()

    async def request(name, until):
        async with control.core.gate.showing(inode):
            told.append(f"{name} in")
            await until.wait()
            told.append(f"{name} out")

    async def change():
        async with control.core.gate.holding(inode):
            told.append("held")
            assert inode.slots == 0

    at_once = trio.Event()
    at_once.set()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(request, "first", leave)
        await wait_all_tasks_blocked()
        nursery.start_soon(change)
        await wait_all_tasks_blocked()
        nursery.start_soon(request, "late", at_once)
        await wait_all_tasks_blocked()
        assert told == ["first in"]
        leave.set()
    assert told == ["first in", "first out", "held", "late in", "late out"]


async def test_holders_come_one_at_a_time(control):
    inode, inside = control.core.inode(1), 0

    async def change():
        nonlocal inside
        async with control.core.gate.holding(inode):
            inside += 1
            await trio.lowlevel.checkpoint()
            assert inside == 1
            inside -= 1

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(change)


async def test_a_cancelled_holder_lets_go(control):
    inode = control.core.inode(1)
    async with control.core.gate.showing(inode):
        with trio.move_on_after(0):
            async with control.core.gate.holding(inode):
                raise AssertionError("a slot shows the inode")
    async with control.core.gate.showing(inode):
        pass
