# SPDX-License-Identifier: MIT
"""Compiled natives do to the same bytes what their interpreted twins do."""

import errno
import os
import struct
import threading

import pytest

from iomapd.jit import load_unit
from iomapd.native.bits import cycles, likely, trailing_zeros
from iomapd.native.calls import call6
from iomapd.native.memory import (
    clear,
    copy,
    exchange,
    fence,
    fetch_add,
    fetch_and,
    fetch_max,
    fetch_or,
    load8,
    load16,
    load32,
    load64,
    load_acquire,
    load_constant,
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
    total = load8(target) + load16(target + 1) + load32(target + 3) + load_acquire(target + 64)
    # Of the source nothing is changed: only there may a load be of a constant.
    return total + load_constant(source + 64) - load64(source + 64)


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


def modify_every_way(target, value):
    """Fold what each atomic operation found into one number."""
    store64(target, 5)
    seen = exchange(target, value)
    seen = seen * 31 + fetch_add(target, 3)
    seen = seen * 31 + fetch_or(target, 0x70)
    seen = seen * 31 + fetch_and(target, ~0x21)
    seen = seen * 31 + fetch_max(target, 40)
    seen = seen * 31 + fetch_max(target, 1000)
    return seen * 31 + load64(target)


def copy_and_clear(target, source, size):
    copy(target, source, size)
    clear(target + 8, size - 16)
    return 1


def zeros_below(word):
    return trailing_zeros(word)


def time_passes():
    start = cycles()
    return 1 if cycles() >= start else 2


def add_often(target, times):
    for _ in range(times):
        fetch_add(target, 1)
    return 1


def sum_of_six(a, b, c, d, e, f):
    return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f


def call_with_six(function, first):
    return call6(function, first, 1, 2, 3, 4, 5)


def sign(value):
    if likely(value > 0):
        return 1
    return 2 if likely(value == 0) else 3


FUNCTIONS = [
    copy_every_width, truncating_stores, read_from, write_to, modify_every_way, copy_and_clear,
    zeros_below, time_passes, add_often, sum_of_six, call_with_six, sign,
]  # fmt: skip


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


def test_atomic_operations_find_and_leave_the_same(functions):
    region = Region(4096)
    for value in (0, 1, 0x21, 39, -1, 2**31):
        expected = modify_every_way(region.addr, value)
        assert functions["modify_every_way"](region.addr, value) == expected


def test_copy_and_clear_touch_nothing_else(functions):
    region = Region(4096)
    region.write(0, bytes(range(1, 101)))
    region.write(1000, b"\xee" * 100)
    functions["copy_and_clear"](region.addr + 1010, region.addr, 50)
    expected = b"\xee" * 10 + bytes(range(1, 9)) + bytes(34) + bytes(range(43, 51)) + b"\xee" * 40
    assert region.read(1000, 100) == expected


@pytest.mark.parametrize("word", [0, 1, 2, 96, -1, -(2**63), 2**62])
def test_trailing_zeros(functions, word):
    expected = 64 if word == 0 else len(bin(word)) - len(bin(word).rstrip("0"))
    assert functions["zeros_below"](word) == expected


def test_the_cycle_counter_does_not_run_backwards(functions):
    assert functions["time_passes"]() == 1


def test_two_threads_lose_no_count(compiled):
    region, times = Region(4096), 2_000_000
    add = compiled.function("add_often")
    threads = [threading.Thread(target=add, args=(region.addr, times)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert int.from_bytes(region.read(0, 8), "little") == 2 * times


def test_what_is_likely_is_not_taken_for_certain(functions):
    assert [functions["sign"](value) for value in (5, 0, -5)] == [1, 2, 3]


def test_a_function_of_six_arguments_is_called_by_its_address(functions, compiled):
    address = compiled.address("sum_of_six")
    assert functions["call_with_six"](address, 7) == sum_of_six(7, 1, 2, 3, 4, 5)
