# SPDX-License-Identifier: MIT
"""Find, program, check: interpreted and compiled give the same answers, and the right ones."""

import ctypes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iomapd.abi import FALLBACK, HANDLED
from iomapd.abi.program import CTX_ADDR, CTX_LENGTH, CTX_POS, CTX_STRIP, CTX_UNIT
from iomapd.dataplane.engine import MapEngine, encode
from iomapd.errors import BadMappingError
from iomapd.mapping.extent import Extent, Strip
from iomapd.native.calls import ENTRY
from iomapd.native.memory import load64, store64
from tests.dataplane.test_pieces import UNIT, extents, units

EXTENT = Extent(1, 40960, 4 * UNIT, 1, UNIT, 1, 2 * UNIT, 2 * UNIT, (Strip(1, 0), Strip(2, 0)))
ENGINES = {"interpreted": MapEngine(interpreted=True), "compiled": MapEngine()}
ADDRESSES = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-3, 20).map(lambda n: n * 4096))


_alive = []


def program(answer):
    """Give a Python function an address, as a compiled program has one."""
    _alive.append(ENTRY(answer))
    return ctypes.cast(_alive[-1], ctypes.c_void_p).value


def constant(strip, addr, length, status=HANDLED):
    def answer(ctx):
        store64(ctx + CTX_STRIP, strip)
        store64(ctx + CTX_ADDR, addr)
        store64(ctx + CTX_LENGTH, length)
        return status

    return program(answer)


@pytest.mark.parametrize("how", ENGINES)
@given(extent=extents(), data=st.data())
@settings(deadline=None)
def test_the_built_in_formula_maps_like_the_reference(how, extent, data):
    pos = data.draw(st.integers(extent.offset, extent.end - 1))
    end = data.draw(st.integers(pos + 1, extent.end))
    pieces = ENGINES[how].pieces(encode(extent), pos, end)
    expected = list(units(extent, pos, end))
    if len(extent.strips) > 1:
        assert pieces == expected
    else:
        assert [pieces[0][:3], pieces[-1][3]] == [expected[0][:3], end]


@pytest.mark.parametrize("how", ENGINES)
@given(
    extent=extents().filter(lambda e: len(e.strips) > 1),
    strip=st.integers(-2, 6),
    addr=ADDRESSES,
    length=ADDRESSES,
)
@settings(deadline=None)
def test_whatever_a_program_answers_it_reaches_only_its_own_strips(
    how, extent, strip, addr, length
):
    encoded = encode(extent, program=constant(strip, addr, length), name="liar")
    try:
        pieces = ENGINES[how].pieces(encoded, extent.offset, extent.end, limit=1)
    except BadMappingError:
        return
    ((member, at, start, end),) = pieces
    home = extent.strips[strip]
    assert member == home.member
    assert home.addr <= at < at + end - start <= home.addr + extent.strip_alloc
    assert start < end <= extent.end


@pytest.mark.parametrize("how", ENGINES)
@pytest.mark.parametrize("status", [FALLBACK, 2, -1, 2**62])
def test_any_status_but_handled_is_no_success(how, status):
    encoded = encode(EXTENT, program=constant(0, 0, UNIT, status), name="shy")
    with pytest.raises(BadMappingError, match="shy: does not map this position"):
        ENGINES[how].pieces(encoded, EXTENT.offset, EXTENT.end)


@pytest.mark.parametrize("how", ENGINES)
def test_a_program_is_asked_at_aligned_positions_of_its_extent(how):
    asked = []

    def spy(ctx):
        asked.append((load64(ctx + CTX_POS), load64(ctx + CTX_UNIT)))
        store64(ctx + CTX_STRIP, 0)
        store64(ctx + CTX_ADDR, 0)
        store64(ctx + CTX_LENGTH, 4096)
        return HANDLED

    pieces = ENGINES[how].pieces(encode(EXTENT, program=program(spy)), 40960 + 5000, 40960 + 9000)
    assert asked == [(4096, UNIT), (8192, UNIT)]
    assert pieces == [(1, 904, 45960, 49152), (1, 0, 49152, 49960)]


@pytest.mark.parametrize("how", ENGINES)
def test_a_range_outside_the_extent_is_refused(how):
    for pos, end in ((EXTENT.offset - 1, EXTENT.end), (EXTENT.offset, EXTENT.end + 1), (5, 5)):
        with pytest.raises(BadMappingError, match="outside the extent"):
            ENGINES[how].pieces(encode(EXTENT), pos, end)
