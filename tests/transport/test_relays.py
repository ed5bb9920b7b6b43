# SPDX-License-Identifier: MIT
"""The relays against socket pairs, interpreted and compiled: a pair stands in for /dev/fuse."""

import contextlib
import errno
import select
import socket
import struct
import threading

import pytest

from iomapd.abi.fuse import CREATE, FH_DSYNC, OPEN, READ, WRITE
from iomapd.native.memory import load64, store64
from iomapd.native.region import Region
from iomapd.transport import block as fields
from iomapd.transport.pair import hang_up, open_pair
from iomapd.transport.relays import FAILED, KERNEL_GONE, SERVER_GONE
from tests.transport import messages

SIZE = 1 << 20
FORGET, INTERRUPT = 2, 36
TIMEOUT = 20


class Bench:
    """Relays between two stand-ins: `kernel` for the far side of /dev/fuse, `server`."""

    def __init__(self, functions, dev_blocking):
        self.functions = functions
        self.kernel, self.dev = open_pair(1 << 22)
        self.server, self.pair = open_pair(1 << 22)
        self.queue_in, self.queue_out = open_pair(1 << 16)
        self.dev.setblocking(dev_blocking)
        for end in (self.kernel, self.server):
            end.settimeout(TIMEOUT)
        self.block = Region(fields.BLOCK_SIZE)
        fields.prepare(self.block.addr)
        self.status = {}
        self.threads = []

    def start(self, name, *fds):
        buffer = Region(SIZE + 8192)

        def run():
            arguments = [end.fileno() for end in fds]
            self.status[name] = self.functions[name](
                *arguments, self.block.addr, buffer.addr, buffer.size
            )

        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()

    def join(self):
        for thread in self.threads:
            thread.join(timeout=TIMEOUT)
            assert not thread.is_alive()
        self.threads.clear()

    def finish(self):
        """Hang up and wait for the relays: counters move after their messages."""
        hang_up(self.pair)
        hang_up(self.queue_in)
        self.join()

    def counter(self, offset):
        return load64(self.block.addr + offset)

    def close(self):
        self.finish()
        for end in (self.kernel, self.dev, self.server, self.pair, self.queue_in, self.queue_out):
            end.close()


@pytest.fixture
def inward(functions):
    with contextlib.closing(Bench(functions, dev_blocking=False)) as bench:
        bench.start("relay_in", bench.dev, bench.pair)
        yield bench


@pytest.fixture
def outward(functions):
    with contextlib.closing(Bench(functions, dev_blocking=True)) as bench:
        bench.start("relay_out", bench.dev, bench.pair, bench.queue_in)
        yield bench


def fill(end, message):
    """Send until nothing has moved for a while."""
    end.settimeout(0.1)
    with contextlib.suppress(TimeoutError):
        while True:
            end.send(message)


def remember(bench, opcode, unique):
    """Let relay-in see a request, so that relay-out knows what its reply answers."""
    bench.functions["note"](bench.block.addr + fields.PENDING, unique, int(opcode != READ))


def test_requests_arrive_in_order_and_whole(inward):
    sent = [messages.request(READ, bytes(n), unique=2 * n + 2) for n in (40, 0, 999, 100_000)]
    for message in sent:
        inward.kernel.send(message)
    assert [inward.server.recv(SIZE) for _ in sent] == sent
    inward.finish()
    assert inward.counter(fields.REQUESTS) == len(sent)


def test_requests_are_edited_on_the_way(inward):
    inward.kernel.send(messages.request(WRITE, messages.write_in(fh=1, flags=0o10000)))
    assert struct.unpack_from("<Q", inward.server.recv(SIZE), 40)[0] == 1 | FH_DSYNC


def test_the_kernels_end_ends_the_relay(inward):
    inward.kernel.close()
    inward.join()
    assert inward.status == {"relay_in": KERNEL_GONE}


def test_a_hang_up_ends_a_relay_that_waits_for_the_kernel(inward):
    hang_up(inward.pair)
    inward.join()
    assert inward.status == {"relay_in": SERVER_GONE}


def test_the_servers_end_ends_the_relay(inward):
    inward.server.close()
    inward.join()
    assert inward.status == {"relay_in": SERVER_GONE}


def test_a_hang_up_ends_a_relay_that_waits_for_the_server(inward):
    message = messages.request(WRITE, bytes(1 << 18))
    # Nobody receives: the pair fills, then the stand-in fills behind the waiting relay.
    fill(inward.kernel, message)
    hang_up(inward.pair)
    inward.join()
    assert inward.status == {"relay_in": SERVER_GONE}


def test_a_request_too_large_for_the_pair_is_refused_not_lost(functions):
    bench = Bench(functions, dev_blocking=False)
    bench.pair.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
    bench.start("relay_in", bench.dev, bench.pair)
    bench.kernel.send(messages.request(WRITE, bytes(1 << 16), unique=10))
    assert bench.kernel.recv(SIZE) == messages.reply(10, error=-errno.EIO)
    # It goes on with the next; what takes no answer gets none.
    bench.kernel.send(messages.request(FORGET, bytes(1 << 16), unique=12))
    small = messages.request(READ, unique=14)
    bench.kernel.send(small)
    assert bench.server.recv(SIZE) == small
    bench.finish()
    assert bench.counter(fields.REFUSED) == 2
    assert bench.counter(fields.IN_ERRNO) == errno.EMSGSIZE
    bench.close()


def test_an_error_that_cannot_be_waited_out_is_reported(functions, tmp_path):
    bench = Bench(functions, dev_blocking=False)
    with (tmp_path / "file").open("wb") as write_only:
        bench.start("relay_in", write_only, bench.pair)
        bench.join()
    assert bench.status == {"relay_in": FAILED}
    assert bench.counter(fields.IN_ERRNO) == errno.EBADF
    bench.close()


def test_replies_arrive_in_order_and_whole(outward):
    sent = [messages.reply(2 * n + 2, bytes(n)) for n in (0, 8, 100_000, SIZE)]
    received = []
    for message in sent:
        outward.server.send(message)
        received.append(outward.kernel.recv(2 * SIZE))
    assert received == sent
    outward.finish()
    assert outward.counter(fields.REPLIES) == len(sent)


@pytest.mark.parametrize(
    ("opcode", "body"), [(OPEN, messages.open_out), (CREATE, messages.create_out)]
)
def test_direct_opens_are_recognised_by_their_request(outward, opcode, body):
    remember(outward, opcode, 8)
    outward.server.send(messages.reply(8, body(1)))
    assert outward.kernel.recv(SIZE) == messages.reply(8, body(1 | 1 << 6))
    # A READ of sixteen bytes looks just like it; its data must not be touched.
    remember(outward, READ, 10)
    outward.server.send(messages.reply(10, body(1)))
    assert outward.kernel.recv(SIZE) == messages.reply(10, body(1))
    outward.finish()
    assert outward.counter(fields.OPENS_EDITED) == 1


def test_notifications_go_to_their_own_queue(outward):
    notification = messages.notification(2, bytes(24))
    outward.server.send(notification)
    outward.queue_out.settimeout(TIMEOUT)
    assert outward.queue_out.recv(SIZE) == notification
    assert select.select([outward.kernel], [], [], 0)[0] == []
    outward.finish()
    assert outward.counter(fields.NOTIFICATIONS_QUEUED) == 1


def test_a_full_notification_queue_holds_no_reply_up(outward):
    for _ in range(2000):
        outward.server.send(messages.notification(2, bytes(1000)))
    outward.server.send(messages.reply(6))
    assert outward.kernel.recv(SIZE) == messages.reply(6)
    outward.finish()
    queued = outward.counter(fields.NOTIFICATIONS_QUEUED)
    dropped = outward.counter(fields.NOTIFICATIONS_DROPPED)
    assert queued + dropped == 2000
    assert dropped > 0


def test_what_is_no_reply_is_counted_and_dropped(outward):
    outward.server.send(b"short")
    outward.server.send(messages.reply(4))
    assert outward.kernel.recv(SIZE) == messages.reply(4)
    outward.finish()
    assert outward.counter(fields.MALFORMED) == 1


def test_a_reply_too_long_for_the_buffer_fails_its_request(outward):
    outward.server.send(messages.reply(4, bytes(SIZE + 8192)))
    assert outward.kernel.recv(SIZE) == messages.reply(4, error=-errno.EIO)
    outward.finish()
    assert outward.counter(fields.MALFORMED) == 1


def test_replies_are_taken_even_when_the_kernel_is_gone(outward):
    outward.kernel.close()
    for _ in range(100):
        outward.server.send(messages.reply(4, bytes(SIZE // 2)))
    hang_up(outward.server)
    outward.join()
    assert outward.status == {"relay_out": SERVER_GONE}
    assert outward.counter(fields.WRITE_ERRORS) == 100
    assert outward.counter(fields.OUT_ERRNO) == errno.EPIPE


def test_what_was_sent_before_the_end_is_still_delivered(outward):
    for unique in range(2, 42, 2):
        outward.server.send(messages.reply(unique))
    outward.server.close()
    outward.join()
    assert [outward.kernel.recv(SIZE) for _ in range(20)] == [
        messages.reply(unique) for unique in range(2, 42, 2)
    ]


def test_the_notifier_writes_what_is_queued_and_ends_with_its_queue(functions):
    bench = Bench(functions, dev_blocking=True)
    bench.start("notifier", bench.dev, bench.queue_out)
    sent = [messages.notification(code, bytes(code)) for code in (1, 2, 3)]
    for message in sent:
        bench.queue_in.send(message)
    assert [bench.kernel.recv(SIZE) for _ in sent] == sent
    hang_up(bench.queue_in)
    bench.join()
    assert bench.status == {"notifier": SERVER_GONE}
    assert bench.counter(fields.NOTIFICATIONS_SENT) == 3
    bench.close()


@pytest.mark.parametrize("opcode", [43, 46, 47, 51, 52, 53])
def test_what_pyfuse3_cannot_read_goes_aside(inward, opcode):
    side, ours = open_pair(1 << 16)
    side.settimeout(TIMEOUT)
    store64(inward.block.addr + fields.SIDE, ours.fileno())
    aside, plain = messages.request(opcode, bytes(40)), messages.request(READ, bytes(40), unique=4)
    inward.kernel.send(aside)
    inward.kernel.send(plain)
    assert side.recv(SIZE) == aside
    assert inward.server.recv(SIZE) == plain
    inward.finish()
    side.close()
    ours.close()
