# SPDX-License-Identifier: MIT
"""INIT: what is agreed on, and how the exchange ends."""

import errno
import struct
import threading

import pytest

from iomapd.abi.fuse import (
    INIT,
    INIT_AUTO_INVAL_DATA,
    INIT_DIRECT_IO_ALLOW_MMAP,
    INIT_EXPLICIT_INVAL_DATA,
    INIT_EXPORT_SUPPORT,
    INIT_EXT,
    INIT_HANDLE_KILLPRIV_V2,
    INIT_MAX_PAGES,
    INIT_WRITEBACK_CACHE,
    InitIn,
    InitOut,
)
from iomapd.errors import MountError
from iomapd.transport import handshake
from iomapd.transport.handshake import Wishes, negotiate, shake_hands
from iomapd.transport.pair import hang_up, message_capacity, open_pair
from iomapd.transport.relays import SERVER_GONE
from tests.transport import messages

EVERYTHING = (1 << 43) - 1
MIB = 1 << 20
OFFER = InitIn(7, 45, 128 << 10, EVERYTHING)
REPLY = InitOut(7, 38, 128 << 10, INIT_MAX_PAGES | INIT_AUTO_INVAL_DATA | INIT_EXT, 0, 0, MIB, 1,
                256, 0, 0, 0)  # fmt: skip


@pytest.fixture(autouse=True)
def _usual_limit(monkeypatch):
    monkeypatch.setattr(handshake, "pages_limit", lambda: 256)


def agreed(offer=OFFER, reply=REPLY, wishes=Wishes(), capacity=16 * MIB):  # noqa: B008
    return negotiate(offer, reply, wishes, capacity)


def test_requests_of_one_mebibyte_and_the_capabilities_we_want():
    result = agreed()
    assert (result.max_write, result.max_pages) == (MIB, 256)
    assert (result.max_background, result.congestion_threshold) == (64, 48)
    assert result.time_gran == 1
    assert result.flags & INIT_HANDLE_KILLPRIV_V2
    assert result.flags & INIT_DIRECT_IO_ALLOW_MMAP
    assert result.flags & INIT_EXPLICIT_INVAL_DATA
    assert not result.flags & INIT_AUTO_INVAL_DATA


def test_a_writeback_cache_is_had_by_wish_only():
    assert agreed(wishes=Wishes(writeback=True)).flags & INIT_WRITEBACK_CACHE
    assert not agreed().flags & INIT_WRITEBACK_CACHE
    offered = OFFER._replace(flags=INIT_MAX_PAGES)
    refused = agreed(offer=offered, wishes=Wishes(writeback=True))
    assert not refused.flags & INIT_WRITEBACK_CACHE


def test_only_what_the_kernel_offers_is_accepted():
    result = agreed(offer=OFFER._replace(flags=INIT_MAX_PAGES))
    wanted = INIT_HANDLE_KILLPRIV_V2 | INIT_DIRECT_IO_ALLOW_MMAP | INIT_EXPLICIT_INVAL_DATA
    assert not result.flags & wanted
    # Without the explicit kind the automatic one stays: somebody must invalidate.
    assert result.flags & INIT_AUTO_INVAL_DATA


def test_inode_numbers_alone_open_nothing():
    result = agreed(reply=REPLY._replace(flags=REPLY.flags | INIT_EXPORT_SUPPORT))
    assert not result.flags & INIT_EXPORT_SUPPORT


@pytest.mark.parametrize(
    ("capacity", "pages"),
    [(16 * MIB, 256), (MIB + 4096, 256), (MIB + 4095, 128), (425952, 64), (8192, 1)],
)
def test_a_request_fits_the_pair(capacity, pages):
    result = agreed(capacity=capacity)
    assert (result.max_pages, result.max_write) == (pages, pages * 4096)
    assert result.max_write + 4096 <= capacity


def test_a_pair_too_small_for_a_page_is_refused():
    with pytest.raises(MountError, match="8191 bytes is too small"):
        agreed(capacity=8191)


@pytest.mark.parametrize(
    ("wish", "limit", "libfuse", "pages"),
    [(256, 32, MIB, 32), (64, 256, MIB, 64), (1024, 4096, MIB, 256), (256, 256, 128 << 10, 32)],
)
def test_the_least_of_wish_kernel_and_libfuse_counts(monkeypatch, wish, limit, libfuse, pages):
    monkeypatch.setattr(handshake, "pages_limit", lambda: limit)
    reply = REPLY._replace(max_write=libfuse)
    assert agreed(reply=reply, wishes=Wishes(max_pages=wish)).max_pages == pages


def test_old_kernels_take_thirty_two_pages():
    flags = INIT_EXT
    result = agreed(offer=OFFER._replace(flags=flags), reply=REPLY._replace(flags=flags))
    assert (result.max_write, result.max_pages) == (128 << 10, 0)


def test_init_messages_are_read_and_written_alike():
    reply = REPLY._replace(flags=EVERYTHING & ~1, max_background=64, request_timeout=5)
    packed = reply.pack()
    assert len(packed) == 64
    assert InitOut.unpack(packed) == reply
    low, high = struct.unpack_from("<I", packed, 12)[0], struct.unpack_from("<I", packed, 32)[0]
    assert low | high << 32 == reply.flags


def test_a_short_offer_has_no_second_word():
    short = struct.pack("<IIII", 7, 31, 4096, 0xFF)
    assert InitIn.unpack(short) == InitIn(7, 31, 4096, 0xFF)
    with pytest.raises(ValueError, match="at least 16"):
        InitIn.unpack(short[:15])


class Exchange:
    """shake_hands() in a thread between two stand-ins."""

    def __init__(self):
        self.kernel, self.dev = open_pair(1 << 22)
        self.server, self.pair = open_pair(1 << 22)
        self.dev.setblocking(False)
        self.kernel.settimeout(20)
        self.server.settimeout(20)
        self.result = None
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        try:
            self.result = shake_hands(
                self.dev.fileno(), self.pair, Wishes(), message_capacity(self.pair)
            )
        except Exception as error:
            self.result = error

    def join(self):
        self.thread.join(timeout=20)
        assert not self.thread.is_alive()
        return self.result

    def offer(self):
        body = struct.pack("<IIIII44x", 7, 45, 128 << 10, 0xFFFFFFFF, 0x7FF)
        self.kernel.send(messages.request(INIT, body, unique=2))
        return self.server.recv(4096)


@pytest.fixture
def exchange():
    exchange = Exchange()
    yield exchange
    hang_up(exchange.pair)
    exchange.join()
    for end in (exchange.kernel, exchange.dev, exchange.server, exchange.pair):
        end.close()


def test_init_goes_to_the_server_and_its_answer_comes_back_rewritten(exchange):
    assert len(exchange.offer()) == 40 + 64
    exchange.server.send(messages.reply(2, REPLY.pack()))
    answer = exchange.kernel.recv(4096)
    assert struct.unpack_from("<IiQ", answer) == (80, 0, 2)
    assert InitOut.unpack(answer[16:]).max_background == 64
    limits = exchange.join()
    assert (limits.max_write, limits.protocol) == (MIB, 45)


def test_a_server_that_refuses_is_passed_on_and_reported(exchange):
    exchange.offer()
    exchange.server.send(messages.reply(2, error=-errno.EPROTO))
    assert exchange.kernel.recv(4096) == messages.reply(2, error=-errno.EPROTO)
    assert isinstance(exchange.join(), MountError)


def test_a_server_that_leaves_ends_the_wait(exchange):
    exchange.offer()
    exchange.server.close()
    assert exchange.join().status == SERVER_GONE


def test_a_hang_up_ends_the_wait_for_the_kernel(exchange):
    hang_up(exchange.pair)
    assert exchange.join().status == SERVER_GONE


def test_a_first_request_that_is_not_init_is_refused(exchange):
    exchange.kernel.send(messages.request(3))
    assert "opcode 3" in str(exchange.join())
