# SPDX-License-Identifier: MIT
"""Everything that maps a striped range agrees with three lines over one big bytearray."""

import functools
import runpy
import types

from hypothesis import given
from hypothesis import strategies as st

from iomapd.abi.shipped import shipped_dir
from iomapd.abi.units import BLOCK
from iomapd.dataplane.pieces import gather
from iomapd.geometry.stripes import locate
from iomapd.mapping.extent import Extent, Strip, check_extent
from tests.dataplane.mapping import map_extent, map_pos


def deal(data, unit, nr_strips):
    """The reference: deal the bytes out, a unit at a time, like cards."""
    strips = [bytearray() for _ in range(nr_strips)]
    for number, start in enumerate(range(0, len(data), unit)):
        strips[number % nr_strips] += data[start : start + unit]
    return strips


@functools.cache
def counted(length):
    """Bytes of which every aligned eight are different."""
    return b"".join(number.to_bytes(8) for number in range(length // 8 + 1))[:length]


small_units = st.integers(1, 40)
strip_counts = st.integers(1, 9)


@given(small_units, strip_counts, st.integers(0, 400), st.integers(0, 100))
def test_following_locate_reads_what_was_dealt(unit, nr_strips, start, length):
    data = counted(600)
    strips = deal(data, unit, nr_strips)
    pos, found = start, b""
    while pos < start + length:
        strip, addr, run = locate(pos, unit, nr_strips)
        run = min(run, start + length - pos)
        found += strips[strip][addr : addr + run]
        pos += run
    assert found == data[start : start + length]


geometries = st.tuples(
    st.integers(1, 4).map(lambda blocks: blocks * BLOCK),  # unit
    st.integers(1, 5),  # strips
    st.integers(1, 3),  # rows
    st.integers(0, 3).map(lambda blocks: blocks * BLOCK),  # offset in the file
    st.permutations(range(10, 15)),  # member ids
    st.lists(st.integers(0, 3).map(lambda blocks: blocks * BLOCK), min_size=5, max_size=5),
)


def build(geometry):
    """An extent whose strips lie anywhere in their members, those members, and the file's bytes."""
    unit, nr_strips, rows, offset, ids, addrs = geometry
    strip_length = unit * rows
    strips = tuple(Strip(ids[i], addrs[i]) for i in range(nr_strips))
    length = strip_length * nr_strips
    extent = Extent(
        ino=1,
        offset=offset,
        length=length,
        layout=1,
        unit=unit,
        seed=1,
        strip_length=strip_length,
        strip_alloc=strip_length,
        strips=strips,
    )
    data = counted(length)
    # One strip is linear: its unit is the whole strip.
    dealt = deal(data, unit if nr_strips > 1 else length, nr_strips)
    members = {s.member: bytearray(b"\xee" * s.addr) + dealt[i] for i, s in enumerate(strips)}
    check_extent(extent, {member: len(content) for member, content in members.items()})
    return extent, members, data


@given(geometries, st.data())
def test_the_pieces_of_a_read_bring_the_bytes_of_the_file(geometry, draw):
    extent, members, data = build(geometry)
    start = draw.draw(st.integers(extent.offset, extent.end - 1))
    end = draw.draw(st.integers(start + 1, extent.end))
    buffer = bytearray(end - start)
    for run in gather(map_extent(extent, start, end), start):
        addr = run.addr
        for part_start, part_end in run.parts:
            length = part_end - part_start
            buffer[part_start:part_end] = members[run.member][addr : addr + length]
            addr += length
    assert buffer == data[start - extent.offset : end - extent.offset]


@given(geometries, st.data())
def test_a_write_by_pieces_changes_these_bytes_and_no_others(geometry, draw):
    extent, members, data = build(geometry)
    start = draw.draw(st.integers(extent.offset, extent.end - 1))
    end = draw.draw(st.integers(start + 1, extent.end))
    wanted = bytearray(data)
    wanted[start - extent.offset : end - extent.offset] = b"\xff" * (end - start)
    for run in gather(map_extent(extent, start, end), start):
        length = sum(part_end - part_start for part_start, part_end in run.parts)
        members[run.member][run.addr : run.addr + length] = b"\xff" * length
    _, expected, _ = build(geometry)
    unit = extent.unit if len(extent.strips) > 1 else extent.length
    for strip, dealt in zip(extent.strips, deal(wanted, unit, len(extent.strips)), strict=True):
        expected[strip.member][strip.addr :] = dealt
    assert members == expected


@given(geometries, st.data())
def test_one_mapping_names_the_place_of_its_first_byte_and_of_its_last(geometry, draw):
    extent, members, data = build(geometry)
    blocks = st.integers(extent.offset // BLOCK, extent.end // BLOCK - 1)
    pos = draw.draw(blocks) * BLOCK
    mapping = map_pos(extent, pos)
    found = members[mapping.member][mapping.addr : mapping.addr + mapping.length]
    inside = pos - extent.offset
    assert found == data[inside : inside + mapping.length]


@functools.cache
def raid0_program():
    return runpy.run_path(str(shipped_dir("programs") / "raid0.py"))["iomap_begin"]


@given(
    st.integers(1, 64).map(lambda blocks: blocks * BLOCK),
    strip_counts,
    st.integers(0, 2**40),
    st.integers(1, 2**40),
)
def test_the_raid0_program_gives_the_formulas_answer(unit, nr_strips, block, count):
    ctx = types.SimpleNamespace(pos=block * BLOCK, count=count, unit=unit, nr_strips=nr_strips)
    raid0_program()(ctx)
    strip, addr, run = locate(ctx.pos, unit, nr_strips)
    assert (ctx.strip, ctx.addr, ctx.length) == (strip, addr, min(run, count))
