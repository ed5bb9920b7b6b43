# SPDX-License-Identifier: MIT
"""Direct members move side by side: one system call to begin, one to wait."""

import contextlib
import errno
import os

import pytest

from iomapd.cache import entry as words
from iomapd.dataplane import batch, plane, runs
from iomapd.dataplane import request as requests
from iomapd.dataplane import serve as serving
from iomapd.dataplane.batch import RUNS_MAX
from iomapd.dataplane.plane import DIRECT
from iomapd.native.memory import load64, store64
from iomapd.native.syscalls import io_getevents, io_submit
from tests.dataplane.served import BLOCK, UNIT, Served, striped

EXTENT = striped(0, 4, [1, 2, 3])  # 96 KiB
DATA = bytes(range(1, 251)) * 2000


def make(functions, tmp_path, extent=EXTENT, members=3):
    """All of *extent* is written and holds `DATA`."""
    try:
        served = Served(functions, (DIRECT,) * members, tmp_path)
    except OSError as error:
        pytest.skip(f"O_DIRECT: {error}")
    served.publish((extent, None))
    served.fill(extent, 0, DATA[: extent.length])
    served.put(words.SIZE, extent.length)
    return served


@pytest.fixture
def served(functions, tmp_path):
    with contextlib.closing(make(functions, tmp_path)) as served:
        yield served


@pytest.fixture
def stepwise(tmp_path, monkeypatch):
    """The same in the interpreter, with names of the calls in their order."""
    calls = []
    for module, names in ((batch, ("io_submit", "io_getevents")), (runs, ("preadv", "pwritev"))):
        for name in names:
            original = getattr(module, name)

            def step(*args, name=name, original=original):
                calls.append(name)
                return original(*args)

            monkeypatch.setattr(module, name, step)
    with contextlib.closing(make({"serve": serving.serve}, tmp_path)) as served:
        served.calls = calls
        yield served


@pytest.mark.parametrize(("pos", "size"), [(0, 96 << 10), (1, 70_000), (5000, 50_001)])
def test_members_are_read_side_by_side_at_any_position(served, pos, size):
    assert served.read(pos, size) == DATA[pos : pos + size]


def test_members_are_written_side_by_side(served):
    data = bytes(reversed(DATA[: EXTENT.length - 2 * BLOCK]))
    assert served.write(BLOCK, data) == ("wrote", len(data))
    assert served.read(BLOCK, len(data)) == data
    assert served.read(0, BLOCK) == DATA[:BLOCK]


def test_more_runs_than_a_batch_holds_take_several(functions, tmp_path):
    members = RUNS_MAX + 5
    extent = striped(0, 1, list(range(1, members + 1)))
    with contextlib.closing(make(functions, tmp_path, extent, members)) as served:
        assert served.read(0, extent.length) == DATA[: extent.length]
        data = bytes(reversed(DATA[: extent.length]))
        assert served.write(0, data) == ("wrote", extent.length)
        assert served.read(0, extent.length) == data


def test_three_members_are_two_calls(stepwise):
    stepwise.read(0, EXTENT.length)
    stepwise.write(0, DATA[: EXTENT.length])
    assert stepwise.calls == ["io_submit", "io_getevents"] * 2


def test_one_member_is_one_call(stepwise):
    stepwise.read(0, UNIT)
    stepwise.write(0, DATA[:BLOCK])
    assert stepwise.calls == ["preadv", "pwritev"]


@pytest.mark.parametrize("taken", [0, 1, 2, -errno.EAGAIN])
def test_runs_that_the_kernel_does_not_take_move_by_themselves(stepwise, monkeypatch, taken):
    left = [max(taken, 0)]

    def submit(context, count, pointers):
        count = min(count, left[0])
        left[0] -= count
        return io_submit(context, count, pointers) if count else min(taken, 0)

    monkeypatch.setattr(batch, "io_submit", submit)
    assert stepwise.read(0, EXTENT.length) == DATA[: EXTENT.length]
    assert stepwise.calls.count("preadv") == 3 - max(taken, 0)


def test_an_interrupted_wait_goes_on(stepwise, monkeypatch):
    answers = [-errno.EINTR, -errno.EINTR]

    def wait(*args):
        return answers.pop() if answers else io_getevents(*args)

    monkeypatch.setattr(batch, "io_getevents", wait)
    assert stepwise.read(0, EXTENT.length) == DATA[: EXTENT.length]


@pytest.mark.parametrize("result", [BLOCK, 0, -errno.EIO])
def test_a_run_that_came_back_short_is_moved_again(stepwise, monkeypatch, result):
    def wait(context, least, most, events):
        count = io_getevents(context, least, most, events)
        store64(events + batch.EVENT_RES, result)
        return count

    monkeypatch.setattr(batch, "io_getevents", wait)
    assert stepwise.read(0, EXTENT.length) == DATA[: EXTENT.length]
    assert stepwise.calls.count("preadv") == 1


def test_a_member_that_ends_early_is_counted_and_nothing_is_answered(served):
    os.ftruncate(served.fds[1], 0)
    assert served.read(0, EXTENT.length) == ("status", requests.FORWARD_FAILED)
    assert served.plane.statistics()["members"][2]["errors"] == 1
    assert served.is_quiet()


def test_a_closed_plane_leaves_no_context(served):
    assert load64(served.request + requests.AIO) != 0
    served.plane.close()
    assert load64(served.request + requests.AIO) == 0


def test_without_contexts_left_members_move_one_after_the_other(stepwise, monkeypatch):
    stepwise.plane.close()
    monkeypatch.setattr(plane, "io_setup", lambda *args: -errno.EAGAIN)
    assert not stepwise.plane.allow_batches(RUNS_MAX)
    assert stepwise.read(0, EXTENT.length) == DATA[: EXTENT.length]
    assert stepwise.calls == ["preadv"] * 3
