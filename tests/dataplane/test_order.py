# SPDX-License-Identifier: MIT
"""Orders that durability and isolation rest on, watched step by step in the interpreter.

A compiled lane runs the same text; what differs there are instructions, not their order.
"""

import contextlib
import errno
import os

import pytest

from iomapd.cache import entry as words
from iomapd.dataplane import batch, content, reply, runs, transfer
from iomapd.dataplane import plane as planes
from iomapd.dataplane import request as requests
from iomapd.dataplane import serve as serving
from iomapd.dataplane import statistics as counters
from iomapd.dataplane.plane import BUFFERED, DIRECT, MAPPED
from iomapd.native.memory import load64, store64
from iomapd.native.syscalls import preadv, pwritev
from tests.dataplane.served import BLOCK, DATA_OFFSET, INO, READ, UNIT, WRITE, Served, striped

EXTENT = striped(0, 4, [1, 2, 3])
DATA = bytes(range(1, 251)) * 400
STEPS = {
    serving: ("show", "find_entry", "fetch_or", "fetch_add", "note_write", "withdraw"),
    content: ("mark",),
    runs: ("pwritev", "preadv"),
    batch: ("io_submit", "io_getevents"),
    transfer: ("process_vm_readv",),
    reply: ("write", "writev"),
}


@pytest.fixture
def world():
    with contextlib.closing(Served({"serve": serving.serve})) as served:
        served.publish((EXTENT, set()))
        yield served


@pytest.fixture
def trace(monkeypatch):
    """Names of the steps in the order in which they are taken."""
    steps = []

    def watch(module, name):
        original = getattr(module, name)

        def step(*args):
            steps.append(name)
            return original(*args)

        monkeypatch.setattr(module, name, step)

    for module, names in STEPS.items():
        for name in names:
            watch(module, name)
    return steps


def test_a_write_is_in_the_members_then_touched_then_marked_then_sized_then_answered(world, trace):
    assert world.write(0, bytes(BLOCK)) == ("wrote", BLOCK)
    assert trace == [
        "show", "find_entry", "pwritev", "fetch_or", "mark", "fetch_add", "note_write", "write",
        "withdraw",
    ]  # fmt: skip


def test_a_failed_write_is_touched_and_never_marked(world, trace):
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, world.fds[0])
    os.close(full)
    assert world.write(0, bytes(BLOCK)) == ("status", requests.FORWARD_FAILED)
    assert trace == ["show", "find_entry", "pwritev", "fetch_or", "withdraw"]


def test_a_read_is_answered_while_its_inode_is_shown(world, trace):
    world.bitmaps[0].set([0])
    world.put(words.SIZE, BLOCK)
    world.read(0, BLOCK)
    assert trace == ["show", "find_entry", "preadv", "writev", "withdraw"]


@pytest.mark.parametrize("opcode", [READ, WRITE])
def test_the_slot_shows_the_inode_during_member_io_and_reply(world, monkeypatch, opcode):
    world.bitmaps[0].set([0])
    world.put(words.SIZE, BLOCK)
    shown = []
    calls = [(runs, "pwritev"), (runs, "preadv"), (reply, "write"), (reply, "writev")]
    for module, name in calls:
        original = getattr(module, name)

        def step(*args, original=original):
            shown.append(load64(load64(world.request + requests.SLOT)))
            return original(*args)

        monkeypatch.setattr(module, name, step)
    assert world.ask(world.message(opcode, 0, BLOCK, bytes(BLOCK))) == requests.SERVED
    world.reply()
    assert shown == [INO, INO]
    assert world.is_quiet()


def test_who_holds_after_the_slot_was_shown_is_seen(world, monkeypatch):
    """Dekker: the hold comes between the lane's show and its look at the entry."""
    original = serving.show

    def show(slot, ino):
        original(slot, ino)
        world.put(words.HOLD, 1)

    monkeypatch.setattr(serving, "show", show)
    assert world.write(0, bytes(BLOCK)) == ("status", requests.FORWARD_HELD)
    assert world.is_quiet()


# -- short transfers


def shortened(call, size):
    """*call*, but never more than *size* bytes at a time, and an EINTR before each."""
    interrupted = [False]

    def short(fd, iov, count, pos):
        interrupted[0] = not interrupted[0]
        if interrupted[0]:
            return -errno.EINTR
        length = load64(iov + 8)
        store64(iov + 8, min(length, size))
        try:
            return call(fd, iov, 1, pos)
        finally:
            store64(iov + 8, length)

    return short


@pytest.mark.parametrize("size", [1000, UNIT, UNIT + 1])
def test_short_transfers_go_on_where_they_ended(world, monkeypatch, size):
    monkeypatch.setattr(runs, "pwritev", shortened(pwritev, size))
    monkeypatch.setattr(runs, "preadv", shortened(preadv, size))
    assert world.write(0, DATA[: EXTENT.length]) == ("wrote", EXTENT.length)
    assert world.read(0, EXTENT.length) == DATA[: EXTENT.length]


def test_a_member_takes_one_call_for_all_its_units(world, trace):
    world.write(0, DATA[: EXTENT.length])
    world.read(0, EXTENT.length)
    assert (trace.count("pwritev"), trace.count("preadv"), trace.count("writev")) == (3, 3, 1)


def test_members_that_may_wait_are_told_first_what_will_be_read(monkeypatch, trace):
    with contextlib.closing(Served({"serve": serving.serve}, nr_lanes=2)) as served:
        served.publish((EXTENT, None))
        served.fill(EXTENT, 0, DATA[: EXTENT.length])
        served.put(words.SIZE, EXTENT.length)
        told = []
        monkeypatch.setattr(transfer, "readahead", lambda *call: told.append(call))
        assert served.read(0, EXTENT.length) == DATA[: EXTENT.length]
        assert told == []
        served.plane.set(planes.FLAGS, planes.CAN_BLOCK)
        assert served.read(0, EXTENT.length) == DATA[: EXTENT.length]
        assert told == [(fd, DATA_OFFSET, 4 * UNIT) for fd in served.fds[1:]]


def test_mapped_members_are_read_by_the_reply_alone(monkeypatch, trace):
    with contextlib.closing(Served({"serve": serving.serve}, (MAPPED,) * 3)) as served:
        served.publish((EXTENT, None))
        served.fill(EXTENT, 0, DATA[: EXTENT.length])
        served.put(words.SIZE, EXTENT.length)
        assert served.read(0, EXTENT.length) == DATA[: EXTENT.length]
    assert trace == ["show", "find_entry", "writev", "withdraw"]


# -- members that are written in their mappings


@pytest.fixture
def copied():
    with contextlib.closing(Served({"serve": serving.serve}, (MAPPED,) * 3, copies=True)) as served:
        served.publish((EXTENT, None))
        served.put(words.SIZE, EXTENT.length)
        yield served


def test_a_write_is_one_call_for_all_members(copied, trace):
    assert copied.write(5000, DATA[:50_001]) == ("wrote", 50_001)
    assert copied.read(5000, 50_001) == DATA[:50_001]
    assert trace == [
        "show", "find_entry", "process_vm_readv", "fetch_or", "note_write", "write", "withdraw",
        "show", "find_entry", "writev", "withdraw",
    ]  # fmt: skip


def test_what_is_written_once_takes_no_faults_of_the_mapping(copied, trace):
    copied.know_mappings(0)
    assert copied.write(5000, DATA[:50_001]) == ("wrote", 50_001)
    assert "process_vm_readv" not in trace
    assert copied.write(7000, DATA[:40_000]) == ("wrote", 40_000)
    assert trace.count("process_vm_readv") == 1
    assert copied.read(5000, 2000) + copied.read(7000, 40_000) == DATA[:2000] + DATA[:40_000]


def test_a_first_write_to_space_that_was_written_before_is_copied_too(copied, trace):
    copied.publish((EXTENT, {0, 2}))
    assert copied.write(0, DATA[: 3 * BLOCK]) == ("wrote", 3 * BLOCK)
    assert (trace.count("process_vm_readv"), trace.count("mark")) == (1, 1)
    assert copied.read(0, 3 * BLOCK) == DATA[: 3 * BLOCK]


@pytest.mark.parametrize("result", [-errno.EPERM, -errno.EFAULT, BLOCK])
def test_what_cannot_be_copied_whole_is_written_by_pwritev(copied, trace, monkeypatch, result):
    monkeypatch.setattr(transfer, "process_vm_readv", lambda *call: result)
    assert copied.write(0, DATA[: EXTENT.length]) == ("wrote", EXTENT.length)
    assert copied.read(0, EXTENT.length) == DATA[: EXTENT.length]
    assert trace.count("pwritev") == 3


def test_a_page_that_is_gone_from_under_a_mapping_ends_no_process(copied, functions):
    copied.serve = functions["serve"]
    os.ftruncate(copied.fds[1], DATA_OFFSET)
    assert copied.write(0, DATA[: EXTENT.length]) == ("wrote", EXTENT.length)
    assert copied.block_bytes(EXTENT, UNIT) == DATA[UNIT : UNIT + BLOCK]


# -- direct members


@pytest.fixture
def direct(functions, tmp_path):
    try:
        served = Served(functions, (DIRECT, BUFFERED, DIRECT), tmp_path)
    except OSError as error:
        pytest.skip(f"O_DIRECT: {error}")
    with contextlib.closing(served):
        served.publish((EXTENT, None))
        served.fill(EXTENT, 0, DATA[: EXTENT.length])
        served.put(words.SIZE, EXTENT.length)
        yield served


@pytest.mark.parametrize(("pos", "size"), [(0, 96 << 10), (1, 1), (4095, 2), (5000, 50_001)])
def test_direct_members_are_read_at_any_position(direct, pos, size):
    assert direct.read(pos, size) == DATA[pos : pos + size]


def test_direct_members_are_written_in_whole_blocks_only(direct):
    data = bytes(reversed(DATA[: 5 * BLOCK]))
    assert direct.write(BLOCK, data) == ("wrote", 5 * BLOCK)
    assert direct.read(BLOCK, 5 * BLOCK) == data
    for pos, size in ((1, BLOCK), (0, 100), (BLOCK, BLOCK + 512)):
        answer = direct.write(pos, bytes(size))
        assert answer == ("status", requests.FORWARD_UNALIGNED)
    # No direct member is concerned.
    assert direct.write(UNIT + 5, b"x") == ("wrote", 1)


# -- upcalls


def test_pieces_are_kept_from_upcall_to_upcall_until_the_map_changes(functions):
    with contextlib.closing(Served(functions)) as served:
        served.plane.set(planes.STRATEGY, planes.BY_UPCALL)
        served.publish((EXTENT, None))
        served.fill(EXTENT, 0, DATA[: EXTENT.length])
        served.put(words.SIZE, EXTENT.length)
        asked = []

        def step():
            asked.append(load64(served.request + requests.MISSING))
            served.answer_upcall(0, served.extent, asked[-1])
            return served.again()

        served.extent = EXTENT
        assert served.ask(served.message(READ, 100, 3 * UNIT)) == requests.PARK
        assert step() == requests.PARK
        assert served.is_quiet()
        # The file moves: what was gathered is worth nothing any more.
        served.extent = striped(0, 4, [3, 2, 1], at=1 << 19)
        served.fill(served.extent, 0, DATA[1000 : 1000 + EXTENT.length])
        served.publish((served.extent, None))
        served.put(words.COOKIE, 1)
        while step() == requests.PARK:
            pass
        assert served.reply() == DATA[1100 : 1100 + 3 * UNIT]
        assert asked == [100, UNIT, 100, UNIT, 2 * UNIT, 3 * UNIT]


def test_a_refused_upcall_goes_to_the_control_plane(functions):
    with contextlib.closing(Served(functions)) as served:
        served.plane.set(planes.STRATEGY, planes.BY_UPCALL)
        served.publish((EXTENT, None))
        served.put(words.SIZE, EXTENT.length)
        assert served.ask(served.message(READ, 0, 10)) == requests.PARK
        store64(served.request + requests.ANSWER_STATUS, 7)
        assert served.again() == requests.FORWARD_REFUSED


# -- statistics


def test_what_was_done_is_counted(functions):
    with contextlib.closing(Served(functions)) as served:
        served.publish((EXTENT, set()))
        served.write(0, DATA[: 2 * UNIT])
        served.read(0, UNIT)
        served.read(0, UNIT)
        os.ftruncate(served.fds[1], 0)
        assert served.read(UNIT, UNIT) == ("status", requests.FORWARD_FAILED)
        statistics = served.plane.statistics()
        assert (statistics["reads"], statistics["read_bytes"]) == (2, 2 * UNIT)
        assert (statistics["writes"], statistics["written_bytes"]) == (1, 2 * UNIT)
        assert statistics["errors"] == 0, "nobody has been told yet"
        assert statistics["members"][1] == {
            "reads": 2, "read_bytes": 2 * UNIT, "writes": 1, "written_bytes": UNIT, "errors": 0,
            "last_error": "",
        }  # fmt: skip
        assert statistics["members"][2]["errors"] == 1
        assert load64(served.stats + counters.ERROR_NUMBER) == errno.EIO
        assert load64(served.stats + counters.ERROR_MEMBER) == 2
        assert sum(bin["count"] for bin in statistics["read_latency"]) == 2
        assert sum(bin["count"] for bin in statistics["write_latency"]) == 1
        lane, resumer = statistics["threads"]
        assert (lane["name"], lane["reads"], lane["writes"]) == ("lane 0", 2, 1)
        assert (resumer["name"], resumer["reads"], resumer["forwarded"]) == ("resume", 0, 0)
