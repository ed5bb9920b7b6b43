# SPDX-License-Identifier: MIT
import errno
import os

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from iomapd.control.points import INTERVAL_S
from tests.control.conftest import MIB, reopened

OWNER = (0, 0)


def new_file(control, name=b"f"):
    return control.names.make(1, name, 0o100644, OWNER)


def fail_flushes_of(monkeypatch, fd):
    real = os.fdatasync

    def fdatasync(asked):
        if asked == fd:
            raise OSError(errno.EIO, "planted")
        real(asked)

    monkeypatch.setattr(os, "fdatasync", fdatasync)


def stall_flushes(control, monkeypatch):
    """Make flushes wait; return the events "one has begun" and "go on"."""
    entered, go_on = trio.Event(), trio.Event()
    flush = control.core.io.flush

    async def slow(members):
        entered.set()
        await go_on.wait()
        return await flush(members)

    monkeypatch.setattr(control.core.io, "flush", slow)
    return entered, go_on


async def test_many_waiters_share_one_point(live):
    inode = new_file(live)
    await live.files.write(inode, 0, b"x" * 4096)
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(live.points.make)
    assert live.points.counters.points <= 2


async def test_who_asks_during_a_point_waits_for_the_next(live, monkeypatch):
    entered, go_on = stall_flushes(live, monkeypatch)
    inode = new_file(live)
    await live.files.write(inode, 0, b"1" * 4096)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live.points.make)
        await entered.wait()
        await live.files.write(inode, 4096, b"2" * 4096)
        nursery.start_soon(live.points.make)
        await wait_all_tasks_blocked()
        go_on.set()
    assert live.points.counters.points == 2
    assert live.core.store.names.inode(inode.ino).size == 8192


async def test_marks_are_committed_only_after_the_flush(live, monkeypatch):
    seen = []
    flush = live.core.io.flush

    async def watching(members):
        seen.append(live.core.store.space.written(inode.ino))
        return await flush(members)

    monkeypatch.setattr(live.core.io, "flush", watching)
    inode = new_file(live)
    await live.files.write(inode, 0, b"1" * 4096)
    await live.points.make()
    assert seen == [[]]
    assert live.core.store.space.written(inode.ino) == [(0, 4096)]


async def test_an_overwrite_in_place_flushes_its_members_and_no_more(live):
    inode = new_file(live)
    await live.files.write(inode, 0, b"1" * 65536)
    await live.points.make()
    before = live.points.counters.points
    flushes = {m: c.flushes for m, c in live.core.io.counters().items()}
    await live.files.write(inode, 0, b"2" * 4096)
    await live.points.sync_inode(inode, data_only=True)
    assert live.points.counters.points == before
    flushed = {m for m, c in live.core.io.counters().items() if c.flushes > flushes[m]}
    assert len(flushed) == 1


async def test_a_failed_flush_is_sticky_for_what_rests_on_that_member(live, monkeypatch):
    hurt, well = new_file(live), new_file(live, b"g")
    fail_flushes_of(monkeypatch, live.core.members[0].fd)
    await live.files.write(hurt, 0, b"1" * MIB)
    with pytest.raises(OSError, match="could not be made durable"):
        await live.points.sync_inode(hurt, data_only=False)
    monkeypatch.undo()
    with pytest.raises(OSError, match="could not be made durable"):
        await live.points.sync_inode(hurt, data_only=False)
    assert live.core.store.space.written(hurt.ino) == [], "never marked"
    assert live.core.io.failed() == {live.core.members[0].id}
    # Another file, on other members, is none the worse.
    await live.files.write(well, 0, b"2" * 4096)
    if not live.core.members_of(well.touched) & live.core.io.failed():
        await live.points.sync_inode(well, data_only=False)


async def test_a_store_that_cannot_flush_fails_every_fsync_and_frees_nothing(live, monkeypatch):
    inode = new_file(live)
    await live.files.write(inode, 0, b"1" * MIB)
    await live.points.make()
    await live.files.truncate(inode, 0)
    monkeypatch.setattr(live.core.store, "sync", lambda: (_ for _ in ()).throw(OSError(5, "no")))
    for _ in range(2):
        with pytest.raises(OSError, match="point failed"):
            await live.points.make()
    assert live.core.space.held == MIB


async def test_a_file_removed_during_a_point_stays_removed(live, monkeypatch):
    inode = new_file(live)
    await live.files.write(inode, 0, b"1" * MIB)
    entered, go_on = stall_flushes(live, monkeypatch)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live.points.make)
        await entered.wait()
        await live.delete(live.names.unlink(1, b"f"))
        go_on.set()
    assert live.core.store.names.inode(inode.ino) is None
    assert list(live.core.store.space.iter_content()) == []
    assert not reopened(live).core.problems


async def test_an_inode_in_a_point_is_not_evicted_with_its_old_size(live, monkeypatch):
    inode = new_file(live)
    await live.files.write(inode, 0, b"1" * 5000)
    entered, go_on = stall_flushes(live, monkeypatch)
    live.core.table._max_clean = 2
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live.points.make)
        await entered.wait()
        for n in range(20):
            new_file(live, b"x%d" % n)
        assert live.core.inode(inode.ino).size == 5000
        go_on.set()


async def test_an_fsync_during_an_fdatasync_waits_for_the_data_too(live, monkeypatch):
    inode = new_file(live)
    await live.files.write(inode, 0, b"1" * 4096)
    await live.points.make()
    await live.files.write(inode, 0, b"2" * 4096)
    flush, flushed = live.core.io.flush, []
    go_on = trio.Event()

    async def slow_at_first(members):
        if not flushed:
            flushed.append(set())
            await go_on.wait()
        flushed.append(set(members))
        return await flush(members)

    monkeypatch.setattr(live.core.io, "flush", slow_at_first)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: live.points.sync_inode(inode, data_only=True))
        await wait_all_tasks_blocked()
        await live.points.sync_inode(inode, data_only=False)
        assert flushed[1], "the point flushed what the fdatasync had not yet"
        go_on.set()


async def test_an_unmount_during_a_point_loses_nothing(control, monkeypatch):
    entered, go_on = stall_flushes(control, monkeypatch)
    inode = new_file(control)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(control.points.run)
        await control.files.write(inode, 0, b"1" * 5000)
        nursery.start_soon(control.points.make)
        await entered.wait()
        nursery.cancel_scope.cancel()
        go_on.set()
    await control.points.make_now()
    assert control.core.store.names.inode(inode.ino).size == 5000
    assert control.core.store.space.written(inode.ino) == [(0, 8192)]


def stall_the_log(control, monkeypatch):
    """Make the store's flushes wait; return the list they are noted in and the event "go on"."""
    flushed, go_on, sync = [], trio.Event(), control.core.store.sync

    def slow():
        trio.from_thread.run(go_on.wait)
        flushed.append(True)
        sync()

    monkeypatch.setattr(control.core.store, "sync", slow)
    return flushed, go_on


@pytest.mark.parametrize("size", [1000, 70000])
async def test_fdatasync_after_a_truncate_flushes_the_log(live, monkeypatch, size):
    """The size is needed to read the data (fdatasync(2)): without it the truncate was lost."""
    inode = new_file(live)
    await live.files.write(inode, 0, b"1" * 8192)
    await live.points.make()
    await live.files.truncate(inode, size)
    flushed, go_on = stall_the_log(live, monkeypatch)
    go_on.set()
    await live.points.sync_inode(inode, data_only=True)
    assert flushed


async def test_fdatasync_while_a_point_flushes_the_log_waits_for_it(live, monkeypatch):
    """Committed is not durable: an fdatasync in between returned before its file's marks were."""
    inode = new_file(live)
    await live.files.write(inode, 0, b"1" * 8192)
    flushed, go_on = stall_the_log(live, monkeypatch)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live.points.make)
        while not live.core.store.space.written(inode.ino):
            await trio.lowlevel.checkpoint()

        async def fdatasync():
            await live.points.sync_inode(inode, data_only=True)
            assert flushed

        nursery.start_soon(fdatasync)
        await wait_all_tasks_blocked()
        go_on.set()


async def test_names_alone_become_durable_within_the_interval(live, monkeypatch, autojump_clock):
    """Where no file was written no point was made: hours of names hung on the next fsync."""
    begun = []

    async def make_now():
        begun.append(trio.current_time())
        live.core.unflushed.clear()

    monkeypatch.setattr(live.points, "make_now", make_now)
    new_file(live)
    await trio.sleep(10 * INTERVAL_S)
    assert len(begun) == 1, "one point for the name, none for nothing"


@pytest.mark.parametrize("again", [False, True], ids=["new data", "overwritten in place"])
async def test_a_replacing_rename_shows_the_old_file_or_the_whole_new_one(live, again):
    """Data overwritten in place was left out: the new name could show the bytes before it."""
    new_file(live, b"old")
    inode = new_file(live, b"new")
    await live.files.write(inode, 0, b"1" * 8192)
    if again:
        await live.points.make()
        await live.files.write(inode, 0, b"2" * 700)
    flushes = sum(c.flushes for c in live.core.io.counters().values())
    await live.settle_before_replacing((1, b"new"), (1, b"old"))
    assert sum(c.flushes for c in live.core.io.counters().values()) > flushes
