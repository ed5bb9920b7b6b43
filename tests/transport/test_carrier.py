# SPDX-License-Identifier: MIT
"""The relays at work together: full pairs, slow servers, and every way to end."""

import contextlib
import errno
import struct
import threading
from pathlib import Path

import pytest

from iomapd.abi.fuse import LSEEK, READ, WRITE
from iomapd.transport import block as fields
from iomapd.transport.carrier import Carrier, compile_relays
from iomapd.transport.pair import message_capacity, open_pair
from iomapd.transport.relays import SERVER_GONE
from tests.transport import messages

MIB = 1 << 20
TIMEOUT = 30
# One message of a MiB and no second fits: the kernel doubles what is asked for.
TIGHT = (MIB + 8192) // 2


@pytest.fixture(scope="module")
def unit():
    return compile_relays()


class Mount:
    """A carrier between stand-ins; /dev/fuse is a wide pair, the server's pair a tight one."""

    def __init__(self, unit, send_buffer=TIGHT):
        # A socket with a timeout sends only into the first quarter of its buffer.
        self.kernel, self.dev = open_pair(256 * MIB)
        self.server, self.pair = open_pair(send_buffer)
        self.dev.setblocking(False)
        self.kernel.settimeout(TIMEOUT)
        self.server.settimeout(TIMEOUT)
        self.carrier = Carrier(unit, self.pair, 1 << 16)
        self.ended = {}

    def start(self):
        self.carrier.start(self.dev.fileno(), self.ended.__setitem__)

    def close(self):
        self.carrier.stop()
        for end in (self.kernel, self.dev, self.server, self.pair):
            end.close()


@pytest.fixture
def mount(unit):
    with contextlib.closing(Mount(unit)) as mount:
        yield mount


def test_a_tight_pair_carries_one_large_message(mount):
    assert MIB + 4096 <= message_capacity(mount.server) < 2 * MIB


@pytest.mark.slow
def test_a_full_pair_delays_and_loses_nothing(mount):
    """32 reads and 32 writes of 1 MiB; the server answers from one thread, the relays late."""
    uniques = range(2, 66, 2)
    for unique in uniques:
        mount.kernel.send(messages.request(READ, bytes(40), unique=unique))
    for unique in uniques:
        body = messages.write_in(data=bytes([unique]) * MIB)
        mount.kernel.send(messages.request(WRITE, body, unique=1000 + unique))
    started = threading.Event()

    def serve():
        for _ in range(2 * len(uniques)):
            request = mount.server.recv(2 * MIB)
            opcode, unique = struct.unpack_from("<4xIQ", request)
            if opcode == READ:
                # The second of these fills the pair and waits for relay_out.
                mount.server.send(messages.reply(unique, bytes([unique]) * MIB))
            else:
                mount.server.send(messages.reply(unique, struct.pack("<II", MIB, 0)))
            started.set()

    server = threading.Thread(target=serve)
    server.start()
    # The relays come last: all requests and the server wait for them.
    assert not started.is_set()
    mount.start()
    answers = {}
    for _ in range(2 * len(uniques)):
        answer = mount.kernel.recv(2 * MIB)
        length, error, unique = struct.unpack_from("<IiQ", answer)
        assert (length, error) == (len(answer), 0)
        answers[unique] = answer[16:]
    server.join(timeout=TIMEOUT)
    assert answers == {u: bytes([u]) * MIB for u in uniques} | {
        1000 + u: struct.pack("<II", MIB, 0) for u in uniques
    }


def test_a_server_that_waits_to_send_never_stops_the_requests(mount):
    mount.start()
    for unique in range(2, 40, 2):
        mount.server.send(messages.reply(unique, bytes(MIB)))
        mount.kernel.send(messages.request(READ, bytes(40), unique=unique))
    for _ in range(2, 40, 2):
        assert len(mount.server.recv(2 * MIB)) == 80
        assert len(mount.kernel.recv(2 * MIB)) == MIB + 16


def test_a_stop_ends_idle_relays(mount):
    mount.start()
    mount.carrier.stop()
    assert set(mount.ended) == {"relay_in", "relay_out", "notifier"}
    assert set(mount.ended.values()) == {SERVER_GONE}


def test_a_stop_before_the_start_is_none(mount):
    mount.carrier.stop()


def test_a_stop_fails_what_the_server_never_answered(mount):
    mount.start()
    uniques = [2, 4, 4098]
    for unique in uniques:
        mount.kernel.send(messages.request(READ, bytes(40), unique=unique))
        mount.server.recv(MIB)
    mount.server.send(messages.reply(4))
    mount.carrier.stop()
    answers = [mount.kernel.recv(MIB) for _ in uniques]
    assert answers[0] == messages.reply(4)
    assert sorted(answers[1:]) == [messages.reply(unique, error=-errno.EIO) for unique in (2, 4098)]


def test_a_stop_fails_what_nobody_has_read(mount):
    # The relay waits with the second large request in its hands, the rest lie behind it.
    mount.start()
    for unique in range(2, 12, 2):
        mount.kernel.send(messages.request(WRITE, bytes(MIB), unique=unique))
    mount.kernel.send(messages.request(2, bytes(8), unique=12))  # FORGET takes no answer
    mount.carrier.stop()
    answers = {mount.kernel.recv(MIB) for _ in range(5)}
    assert answers == {messages.reply(unique, error=-errno.EIO) for unique in range(2, 12, 2)}


def test_what_comes_aside_is_answered_straight(mount):
    mount.start()
    mount.carrier.side.settimeout(TIMEOUT)
    for unique in (2, 4):
        mount.kernel.send(messages.request(LSEEK, bytes(24), unique=unique))
        mount.carrier.side.recv(MIB)
    mount.carrier.reply(messages.reply(4, bytes(8)))
    assert mount.kernel.recv(MIB) == messages.reply(4, bytes(8))
    mount.carrier.stop()
    assert mount.kernel.recv(MIB) == messages.reply(2, error=-errno.EIO)


def test_a_stop_ends_a_relay_that_waits_for_who_reads_aside(mount):
    mount.start()
    # More than the side pair holds: nobody receives.
    for unique in range(2, 2000, 2):
        mount.kernel.send(messages.request(LSEEK, bytes(4096), unique=unique))
    mount.carrier.stop()
    assert set(mount.ended) == {"relay_in", "relay_out", "notifier"}


def test_the_counters_outlive_the_relays(mount):
    mount.start()
    mount.kernel.send(messages.request(READ, bytes(40)))
    mount.server.recv(MIB)
    mount.carrier.stop()
    assert mount.carrier.counter(fields.REQUESTS) == 1


def test_a_hundred_mounts_leave_no_descriptor_and_no_thread(unit):
    def descriptors():
        return len(list(Path("/proc/self/fd").iterdir()))

    fds, threads = descriptors(), threading.active_count()
    for _ in range(100):
        with contextlib.closing(Mount(unit, send_buffer=1 << 16)) as mount:
            mount.start()
    assert (descriptors(), threading.active_count()) == (fds, threads)
