# SPDX-License-Identifier: MIT
"""Lanes and resumers at work, interpreted and compiled: who gets which request, and every end."""

import contextlib
import errno
import os
import select
import signal
import struct
import threading

import pytest

from iomapd.abi.fuse import READ, WRITE
from iomapd.cache import entry as words
from iomapd.dataplane import plane as planes
from iomapd.dataplane import request as requests
from iomapd.dataplane.serve import serve
from iomapd.native.memory import load64
from iomapd.native.region import Region
from iomapd.transport import block as fields
from iomapd.transport.carrier import Carrier, compile_relays
from iomapd.transport.lane import FORWARD, SERVE, lane, read_cycles, resume
from iomapd.transport.lanes import LANE, RESUME, Lanes, compile_lanes
from iomapd.transport.pair import hang_up, open_pair
from iomapd.transport.relays import FAILED, KERNEL_GONE, SERVER_GONE
from iomapd.transport.wake import WAKE, allow_waking
from tests.dataplane.served import BLOCK, INO, Served, striped
from tests.transport import messages

GETATTR = 3
TIMEOUT = 20
EXTENT = striped(0, 4, [1, 2, 3])
DATA = bytes(range(256)) * (EXTENT.length // 256)


class Interpreted:
    """Stands in for a compiled unit."""

    def function(self, name):
        return {f.__name__: f for f in (lane, resume, serve, read_cycles)}[name]


@pytest.fixture(autouse=True)
def _waking():
    before = signal.getsignal(WAKE)
    allow_waking()
    yield
    signal.signal(WAKE, before)


@pytest.fixture(params=["interpreted", "compiled"])
def unit(request):
    return Interpreted() if request.param == "interpreted" else compile_lanes()


class Bench:
    """Lanes between two stand-ins, `kernel` and `server`; the test is the control plane."""

    def __init__(self, unit, **plane):
        self.served = Served({"serve": None}, **plane)
        self.kernel = self.served.kernel
        self.server, self.pair = open_pair(4 << 20)
        self.server.settimeout(TIMEOUT)
        self.relays = Region(fields.BLOCK_SIZE)
        self.lanes = Lanes(self.served.plane, unit)
        self.ended = []
        self.served.fill(EXTENT, 0, DATA)
        self.served.put(words.SIZE, EXTENT.length)

    def start(self):
        dev, pair = self.served.dev.fileno(), self.pair.fileno()
        self.lanes.start(dev, pair, self.relays.addr, lambda *end: self.ended.append(end))

    def ask(self, opcode, pos, count, data=b"", **flags):
        self.kernel.send(self.served.message(opcode, pos, count, data, **flags))
        return self.served.unique

    def answer(self):
        reply = self.kernel.recv(2 << 20)
        length, error, unique = struct.unpack_from("<IiQ", reply)
        assert length == len(reply)
        return unique, error or reply[16:]

    def missed(self):
        """The next posted record: index, ino, pos, count, opflags, kind."""
        assert select.select([self.lanes.posted], [], [], TIMEOUT)[0]
        return struct.unpack("<6q", os.read(self.lanes.posted, 48))

    def decide(self, index, verdict):
        os.write(self.lanes.answers, struct.pack("<2q", index, verdict))

    def statistics(self):
        """End the lanes, then look: counters move after the replies."""
        hang_up(self.pair)
        self.lanes.stop()
        return self.served.plane.statistics()

    def close(self):
        hang_up(self.pair)
        self.lanes.stop()
        self.lanes.close()
        self.served.close()
        self.server.close()
        self.pair.close()


@pytest.fixture
def bench(unit):
    with contextlib.closing(Bench(unit, nr_lanes=2, requests_per_lane=3)) as bench:
        yield bench


@pytest.fixture
def single(unit):
    """One lane with two buffers."""
    with contextlib.closing(Bench(unit, nr_lanes=1, requests_per_lane=2)) as bench:
        bench.start()
        yield bench


@pytest.fixture
def running(bench):
    bench.served.publish((EXTENT, None))
    bench.start()
    return bench


def test_a_mapped_read_is_answered_and_nobody_else_hears_of_it(running):
    unique = running.ask(READ, 100, 50_000)
    assert running.answer() == (unique, DATA[100:50_100])
    assert select.select([running.server], [], [], 0)[0] == []
    assert running.statistics()["reads"] == 1


def test_a_mapped_write_is_answered_and_is_there(running):
    unique = running.ask(WRITE, 5, 3, b"abc")
    assert running.answer() == (unique, struct.pack("<II", 3, 0))
    running.ask(READ, 4, 5)
    assert running.answer()[1] == DATA[4:5] + b"abc" + DATA[8:9]


def test_other_requests_go_to_the_server_whole(running):
    message = messages.request(GETATTR, bytes(16), unique=1000)
    running.kernel.send(message)
    assert running.server.recv(4096) == message
    assert running.statistics()["forwarded"]["foreign"] == 1
    # It is on its way: a stop will refuse it.
    assert load64(running.relays.addr + fields.PENDING + 8 * 500) == 1000


def test_what_a_lane_may_not_do_is_forwarded_with_its_edits(running):
    running.ask(WRITE, 0, BLOCK, bytes(BLOCK), flags=os.O_DSYNC)
    forwarded = running.server.recv(1 << 20)
    assert struct.unpack_from("<Q", forwarded, 40)[0] == 1 | 1 << 48
    assert running.statistics()["forwarded"]["sync"] == 1


def test_many_requests_of_two_lanes_are_all_answered(running):
    uniques = {running.ask(READ, n * 100, 1000): n * 100 for n in range(64)}
    answers = dict(running.answer() for _ in uniques)
    assert answers == {u: DATA[pos : pos + 1000] for u, pos in uniques.items()}


def test_a_miss_parks_and_its_lane_goes_on(single):
    unique = single.ask(READ, 10, 20)
    index, *rest = single.missed()
    assert rest == [INO, 10, 20, 0, requests.MISS]
    message = messages.request(GETATTR, unique=900)
    single.kernel.send(message)
    assert single.server.recv(4096) == message
    assert load64(single.served.plane.request(index) + requests.STATE) == requests.PARKED
    single.served.publish((EXTENT, None))
    single.decide(index, SERVE)
    assert single.answer() == (unique, DATA[10:30])
    statistics = single.statistics()
    assert (statistics["parked"], statistics["resumed"]) == (1, 1)


def test_a_missed_write_says_so_and_keeps_its_data(single):
    unique = single.ask(WRITE, 0, BLOCK, b"w" * BLOCK)
    index, ino, pos, count, opflags, _ = single.missed()
    assert (ino, pos, count, opflags) == (INO, 0, BLOCK, requests.POST_WRITE)
    single.served.publish((EXTENT, set()))
    single.decide(index, SERVE)
    assert single.answer() == (unique, struct.pack("<II", BLOCK, 0))
    assert single.served.bitmaps[0].blocks(single.served.bitmaps[0].written) == {0}


def test_a_parked_request_can_be_forwarded(single):
    single.ask(WRITE, 0, BLOCK, b"w" * BLOCK)
    index, *_ = single.missed()
    single.decide(index, FORWARD)
    assert single.server.recv(1 << 20)[80:] == b"w" * BLOCK
    assert single.statistics()["forwarded"]["unmapped"] == 1
    # FREE in the end, or BUSY when its lane has taken it again.
    while load64(single.served.plane.request(index) + requests.STATE) == requests.PARKED:
        os.sched_yield()


def test_the_last_buffer_of_a_lane_is_never_parked(single):
    single.ask(READ, 0, 1)
    single.missed()
    unique = single.ask(READ, 7, 1)
    forwarded = single.server.recv(4096)
    assert struct.unpack_from("<Q", forwarded, 8)[0] == unique


def test_a_request_that_gets_no_further_is_not_parked_for_ever(single):
    unique = single.ask(READ, 0, 1)
    for _ in range(8):
        index, *_ = single.missed()
        single.decide(index, SERVE)
    assert struct.unpack_from("<Q", single.server.recv(4096), 8)[0] == unique
    assert single.statistics()["parked"] == 8


def test_a_miss_that_cannot_be_posted_is_forwarded(bench):
    filler = bytes(4096)
    bench.start()
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(bench.served.plane.get(planes.MISSES), filler)
    unique = bench.ask(READ, 0, 1)
    assert struct.unpack_from("<Q", bench.server.recv(4096), 8)[0] == unique
    assert bench.statistics()["parked"] == 0


def test_verdicts_on_what_is_not_parked_are_ignored(single):
    for index in (-1, 0, 1, 2, 99):
        single.decide(index, SERVE)
    single.served.publish((EXTENT, None))
    single.ask(READ, 0, 4)
    assert single.answer()[1] == DATA[:4]


def test_upcalls_are_answered_piece_by_piece(single):
    single.served.plane.set(planes.STRATEGY, planes.BY_UPCALL)
    single.served.publish((EXTENT, None))
    unique = single.ask(READ, 100, 20_000)
    asked = []
    while select.select([single.lanes.posted], [], [], 0.5)[0]:
        index, _, pos, count, _, kind = single.missed()
        assert (kind, pos + count) == (requests.UPCALL, 20_100)
        asked.append(pos)
        single.served.answer_upcall(index, EXTENT, pos)
        single.decide(index, SERVE)
        if asked[-1] + 8192 > 20_100:
            break
    assert single.answer() == (unique, DATA[100:20_100])
    assert asked == [100, 8192, 16384]


# -- the end


def ends(bench):
    return {name: {s for n, s in bench.ended if n == name} for name, _ in bench.ended}


def test_a_stop_ends_lanes_that_wait_for_the_kernel(running):
    hang_up(running.pair)
    running.lanes.stop()
    assert ends(running) == {LANE: {SERVER_GONE}, RESUME: {SERVER_GONE}}
    assert len(running.ended) == 3


def test_the_kernels_end_ends_lanes_and_not_the_resumers(running):
    running.kernel.close()
    for thread in running.lanes._threads[:2]:
        thread.join(TIMEOUT)
    assert ends(running) == {LANE: {KERNEL_GONE}}


def test_a_lane_that_waits_for_the_server_ends_when_the_pair_is_hung_up(running):
    body = messages.request(GETATTR, bytes(100_000), unique=20)
    running.kernel.settimeout(0.2)
    with contextlib.suppress(TimeoutError):
        while True:
            running.kernel.send(body)
    hang_up(running.pair)
    running.lanes.stop()
    assert ends(running)[LANE] == {SERVER_GONE}


def test_an_error_that_cannot_be_waited_out_is_reported(bench, tmp_path):
    with (tmp_path / "file").open("wb") as write_only:
        bench.lanes.start(
            write_only.fileno(), bench.pair.fileno(), bench.relays.addr,
            lambda *end: bench.ended.append(end),
        )  # fmt: skip
        for thread in bench.lanes._threads[:2]:
            thread.join(TIMEOUT)
    assert ends(bench) == {LANE: {FAILED}}
    assert bench.lanes.counter(fields.IN_ERRNO) == errno.EBADF


def test_signals_in_between_lose_nothing(running):
    for number in range(50):
        running.ask(READ, number, 10)
        os.kill(os.getpid(), WAKE)
        assert running.answer()[1] == DATA[number : number + 10]


def test_lanes_do_not_start_where_nothing_could_end_them(bench):
    signal.signal(WAKE, signal.SIG_DFL)
    with pytest.raises(RuntimeError, match="allow_waking"):
        bench.start()


def test_more_requests_than_a_pipe_can_name_are_refused():
    served = Served({"serve": None})
    served.plane.nr_requests = 1366
    with pytest.raises(ValueError, match="1366 requests"):
        Lanes(served.plane, Interpreted())
    served.close()


# -- as part of a carrier


@pytest.fixture
def carried(unit):
    bench = Bench(unit, nr_lanes=2, requests_per_lane=3)
    # What a stop leaves unread there is refused: it must not wait for more.
    bench.served.dev.setblocking(False)
    carrier = Carrier(compile_relays(), bench.pair, 1 << 16, bench.lanes)
    bench.carrier, bench.ends = carrier, {}
    carrier.start(bench.served.dev.fileno(), bench.ends.__setitem__)
    yield bench
    bench.carrier.stop()
    bench.lanes.close()
    bench.served.close()
    bench.server.close()
    bench.pair.close()


def test_a_carrier_with_lanes_has_no_relay_in(carried):
    carried.served.publish((EXTENT, None))
    unique = carried.ask(READ, 0, 10)
    assert carried.answer() == (unique, DATA[:10])
    message = messages.request(GETATTR, unique=800)
    carried.kernel.send(message)
    assert carried.server.recv(4096) == message
    carried.server.send(messages.reply(800, b"attributes"))
    assert carried.answer() == (800, b"attributes")
    carried.carrier.stop()
    assert carried.carrier.counter(fields.REQUESTS) == 1
    assert set(carried.ends) == {"relay_out", "notifier", LANE, RESUME}


def test_a_stop_refuses_what_is_parked_forwarded_and_unread(carried):
    parked = carried.ask(READ, 0, 10)
    carried.missed()
    carried.kernel.send(messages.request(GETATTR, unique=700))
    carried.server.recv(4096)
    carried.carrier.stop()
    assert not os.get_blocking(carried.served.dev.fileno())
    answers = dict(carried.answer() for _ in range(2))
    assert answers == {parked: -errno.EIO, 700: -errno.EIO}


def test_threads_of_lanes_are_gone_after_a_stop(carried):
    carried.carrier.stop()
    assert not [t.name for t in threading.enumerate() if t.name.startswith("iomapd-")]
