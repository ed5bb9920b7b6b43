# SPDX-License-Identifier: MIT
"""The mapping of an extent against a three-line reference over one big bytearray."""

from hypothesis import given
from hypothesis import strategies as st

from iomapd.abi.mapping import MappingType
from iomapd.dataplane.pieces import gather
from iomapd.mapping.contract import check_answer
from iomapd.mapping.extent import Extent, Strip
from tests.dataplane.mapping import map_extent, map_pos

UNIT = 8192


@st.composite
def extents(draw):
    nr = draw(st.integers(1, 5))
    rows = draw(st.integers(1, 6))
    strips = tuple(Strip(m + 1, draw(st.integers(0, 9)) * 4096) for m in range(nr))
    offset = draw(st.integers(0, 9)) * 4096
    return Extent(1, offset, rows * UNIT * nr, 1, UNIT, 1, rows * UNIT, rows * UNIT, strips)


def reference(extent, pos):
    """Member and address of one byte, unit by unit."""
    unit_index, within = divmod(pos - extent.offset, UNIT)
    row, strip = divmod(unit_index, len(extent.strips))
    home = extent.strips[strip]
    return home.member, home.addr + row * UNIT + within


def units(extent, pos, end):
    """Where the reference puts ``[pos, end)``, unit by unit."""
    while pos < end:
        stop = min(end, pos + UNIT - (pos - extent.offset) % UNIT)
        yield (*reference(extent, pos), pos, stop)
        pos = stop


@given(extents(), st.data())
def test_every_byte_lies_where_the_reference_says(extent, data):
    start = data.draw(st.integers(extent.offset, extent.end - 1))
    end = data.draw(st.integers(start + 1, extent.end))
    at = start
    for member, addr, low, high in map_extent(extent, start, end):
        assert low == at < high
        for pos in {low, high - 1}:
            assert reference(extent, pos) == (member, addr + pos - low)
        at = high
    assert at == end


@given(extents(), st.data())
def test_gathered_runs_hold_the_same_bytes_once(extent, data):
    start = data.draw(st.integers(extent.offset, extent.end - 1))
    end = data.draw(st.integers(start + 1, extent.end))
    seen = {}
    runs = gather(map_extent(extent, start, end), start)
    for run in runs:
        addr = run.addr
        for low, high in run.parts:
            for i in range(low, high, 509):
                seen[start + i] = (run.member, addr + i - low)
            addr += high - low
    assert all(reference(extent, pos) == place for pos, place in seen.items())
    assert sum(high - low for run in runs for low, high in run.parts) == end - start
    assert len(runs) <= len(extent.strips), "one vectored I/O per member"


@given(extents(), st.data())
def test_a_single_mapping_keeps_the_contract(extent, data):
    pos = data.draw(st.integers(extent.offset // 4096, extent.end // 4096 - 1)) * 4096
    mapping = map_pos(extent, pos)
    assert mapping.type == MappingType.MAPPED
    assert reference(extent, pos) == (mapping.member, mapping.addr)
    home = next(s for s in extent.strips if s.member == mapping.member)
    sizes = {s.member: 1 << 30 for s in extent.strips}
    check_answer(mapping, pos, (home.member, home.addr, home.addr + extent.strip_alloc), sizes)
