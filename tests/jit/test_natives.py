# SPDX-License-Identifier: MIT
"""Compiled natives do to the same bytes what their interpreted twins do."""

import errno
import os
import struct

import pytest

from iomapd.jit import load_unit
from iomapd.native.memory import (
    fence,
    load8,
    load16,
    load32,
    load64,
    load_acquire,
    store8,
    store16,
    store32,
    store64,
    store_release,
)
from iomapd.native.region import Region
from iomapd.native.syscalls import read, write


def copy_every_width(source, target, offset):
    """Copy 8 + 16 + 32 + 64 + 64 bits between unaligned places; sum what was loaded."""
    store8(target + offset, load8(source + offset))
    store16(target + offset + 1, load16(source + offset + 1))
    store32(target + offset + 3, load32(source + offset + 3))
    store64(target + offset + 7, load64(source + offset + 7))
    fence()
    store_release(target + 64, load_acquire(source + 64))
    return load8(target) + load16(target + 1) + load32(target + 3) + load_acquire(target + 64)


def truncating_stores(target, value):
    store8(target, value)
    store16(target + 8, value)
    store32(target + 16, value)
    store64(target + 24, value)
    return load64(target)


def read_from(fd, addr, size):
    return read(fd, addr, size)


def write_to(fd, addr, size):
    return write(fd, addr, size)


FUNCTIONS = [copy_every_width, truncating_stores, read_from, write_to]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    return load_unit("natives", FUNCTIONS, tmp_path_factory.mktemp("jit") / "objects")


@pytest.fixture(params=["interpreted", "compiled"])
def functions(request, compiled):
    names = [function.__name__ for function in FUNCTIONS]
    if request.param == "compiled":
        return {name: compiled.function(name) for name in names}
    return dict(zip(names, FUNCTIONS, strict=True))


PATTERN = bytes((37 * i + 200) & 255 for i in range(128))


@pytest.mark.parametrize("offset", range(0, 9))
def test_every_width_moves_its_bytes_and_no_others(functions, offset):
    source, target = Region(4096), Region(4096)
    source.write(0, PATTERN)
    total = functions["copy_every_width"](source.addr, target.addr, offset)
    expected = bytearray(4096)
    expected[offset : offset + 15] = PATTERN[offset : offset + 15]
    expected[64:72] = PATTERN[64:72]
    assert target.read(0, 4096) == expected
    low, word, half = struct.unpack_from("<BHI", expected)
    assert total == low + word + half + struct.unpack_from("<q", PATTERN, 64)[0]


@pytest.mark.parametrize("value", [0, 1, -1, 2**63 - 1, -(2**63), 0x1122334455667788])
def test_narrow_stores_keep_the_low_bits(functions, value):
    target = Region(4096)
    functions["truncating_stores"](target.addr, value)
    raw = value.to_bytes(8, "little", signed=True)
    words = [target.read(8 * i, 8) for i in range(4)]
    assert words == [raw[:1] + bytes(7), raw[:2] + bytes(6), raw[:4] + bytes(4), raw]


def test_system_calls_answer_alike(functions):
    region = Region(4096)
    reader, writer = os.pipe()
    region.write(0, b"hello")
    assert functions["write_to"](writer, region.addr, 5) == 5
    assert functions["read_from"](reader, region.addr + 50, 100) == 5
    assert region.read(50, 5) == b"hello"
    assert functions["read_from"](-1, region.addr, 1) == -errno.EBADF
    assert functions["write_to"](writer, 8, 4096) == -errno.EFAULT
    os.close(reader)
    os.close(writer)
