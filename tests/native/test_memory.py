# SPDX-License-Identifier: MIT
"""Loads and stores at raw addresses."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iomapd.native import memory
from iomapd.native.region import Region

WIDTHS = {
    8: (memory.load8, memory.store8, "B"),
    16: (memory.load16, memory.store16, "H"),
    32: (memory.load32, memory.store32, "I"),
    64: (memory.load64, memory.store64, "q"),
}


@pytest.mark.parametrize("bits", WIDTHS)
@given(value=st.integers(-(2**63), 2**63 - 1), offset=st.integers(0, 15))
def test_a_store_keeps_the_low_bits_and_touches_nothing_else(bits, value, offset):
    load, store, code = WIDTHS[bits]
    region = Region(4096)
    region.write(0, b"\xa5" * 32)
    store(region.addr + offset, value)
    expected = bytearray(b"\xa5" * 32)
    kept = value if bits == 64 else value & ((1 << bits) - 1)
    struct.pack_into(f"<{code}", expected, offset, kept)
    assert region.read(0, 32) == expected
    assert load(region.addr + offset) == kept


def test_ordered_accesses_see_the_same_words():
    region = Region(4096)
    memory.store_release(region.addr + 8, -2)
    memory.fence()
    assert memory.load_acquire(region.addr + 8) == memory.load64(region.addr + 8) == -2


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (4095, 2), (4097, 0), (0, 4097)])
def test_a_region_does_not_copy_past_its_ends(offset, length):
    region = Region(4096)
    with pytest.raises(ValueError, match="leave a region of 4096 bytes"):
        region.read(offset, length)
    with pytest.raises(ValueError, match="leave a region of 4096 bytes"):
        region.write(offset, bytes(length))


def test_a_region_starts_as_zeros_on_a_page_boundary():
    region = Region(8192)
    assert region.addr % 4096 == 0
    assert region.read(0, 8192) == bytes(8192)
