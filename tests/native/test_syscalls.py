# SPDX-License-Identifier: MIT
"""System calls answer with a result or a negated errno."""

import errno
import os
import select
import socket
import struct

import pytest

from iomapd.native import syscalls
from iomapd.native.memory import load16
from iomapd.native.region import Region


@pytest.fixture
def region():
    return Region(4096)


@pytest.fixture
def pair():
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    yield ends
    for end in ends:
        end.close()


def test_what_is_written_is_read(region):
    reader, writer = os.pipe()
    region.write(0, b"hello")
    assert syscalls.write(writer, region.addr, 5) == 5
    assert syscalls.read(reader, region.addr + 100, 4000) == 5
    assert region.read(100, 5) == b"hello"
    os.close(writer)
    assert syscalls.read(reader, region.addr, 1) == 0
    os.close(reader)


@pytest.mark.parametrize("call", [syscalls.read, syscalls.write])
def test_a_bad_descriptor_is_a_negative_errno(call, region):
    assert call(-1, region.addr, 1) == -errno.EBADF


def test_a_bad_address_is_a_negative_errno(pair):
    assert syscalls.send(pair[0].fileno(), 8, 100, 0) == -errno.EFAULT


def test_a_message_longer_than_the_buffer_tells_its_length(pair, region):
    pair[0].send(bytes(1000))
    assert syscalls.recv(pair[1].fileno(), region.addr, 10, socket.MSG_TRUNC) == 1000


def test_an_empty_socket_is_a_negative_errno(pair, region):
    assert syscalls.recv(pair[1].fileno(), region.addr, 10, socket.MSG_DONTWAIT) == -errno.EAGAIN


def test_ppoll_reports_what_is_ready_and_times_out(pair, region):
    region.write(0, struct.pack("<ihh", pair[1].fileno(), select.POLLIN, 0))
    region.write(16, struct.pack("<qq", 0, 1000))
    assert syscalls.ppoll(region.addr, 1, region.addr + 16) == 0
    pair[0].send(b"x")
    assert syscalls.ppoll(region.addr, 1, 0) == 1
    assert load16(region.addr + 6) == select.POLLIN
