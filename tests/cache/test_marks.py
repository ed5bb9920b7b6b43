# SPDX-License-Identifier: MIT
"""Bitmaps of marks against a set of integers, interpreted and compiled."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iomapd.cache import marks
from iomapd.jit import load_unit
from iomapd.native.region import Region

BITS = 300
FUNCTIONS = [marks.mark, marks.unmark, marks.next_set, marks.next_clear, marks.collect_runs]
SPANS = st.tuples(st.integers(0, BITS), st.integers(0, BITS)).map(sorted)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    unit = load_unit("marks", FUNCTIONS, tmp_path_factory.mktemp("jit") / "objects")
    return {function.__name__: unit.function(function.__name__) for function in FUNCTIONS}


@pytest.fixture(scope="module", params=["interpreted", "compiled"])
def functions(request, compiled):
    if request.param == "compiled":
        return compiled
    return {function.__name__: function for function in FUNCTIONS}


def bits_of(region):
    value = int.from_bytes(region.read(0, marks.bitmap_size(BITS)), "little")
    return {index for index in range(BITS + 64) if value >> index & 1}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), SPANS), max_size=12), SPANS)
def test_bitmaps_are_sets(functions, changes, looked_at):
    written, fresh, out = Region(4096), Region(4096), Region(4096)
    model, fresh_model = set(), set()
    for setting, (first, last) in changes:
        if setting:
            news = functions["mark"](written.addr, fresh.addr, first, last)
            fresh_model |= set(range(first, last)) - model
            model |= set(range(first, last))
            assert (news > 1) == bool(set(range(first, last)) & fresh_model)
        else:
            functions["unmark"](written.addr, first, last)
            model -= set(range(first, last))
    assert bits_of(written) == model
    assert bits_of(fresh) == fresh_model
    first, last = looked_at
    inside = [i for i in range(first, last) if i in model]
    outside = [i for i in range(first, last) if i not in model]
    assert functions["next_set"](written.addr, first, last) == (inside or [last])[0]
    assert functions["next_clear"](written.addr, first, last) == (outside or [last])[0]
    count = functions["collect_runs"](written.addr, first, last, out.addr, 200) - 1
    words = out.words()
    found = [i for n in range(count) for i in range(words[2 * n], words[2 * n + 1])]
    assert found == inside


def test_no_bit_beyond_the_ends_is_touched(functions):
    region = Region(4096)
    functions["mark"](region.addr, region.addr, 63, 65)
    assert bits_of(region) == {63, 64}
    functions["mark"](region.addr, region.addr, 0, 64)
    assert bits_of(region) == set(range(65))
    functions["unmark"](region.addr, 1, 64)
    assert bits_of(region) == {0, 64}


def test_runs_come_in_portions(functions):
    region, out = Region(4096), Region(4096)
    for first in range(0, 100, 4):
        functions["mark"](region.addr, region.addr, first, first + 2)
    assert functions["collect_runs"](region.addr, 0, BITS, out.addr, 3) == 4
    assert list(out.words()[:6]) == [0, 2, 4, 6, 8, 10]


@pytest.mark.parametrize(("blocks", "size"), [(1, 64), (512, 64), (513, 128), (1 << 20, 1 << 17)])
def test_bitmaps_are_whole_cache_lines(blocks, size):
    assert marks.bitmap_size(blocks) == size
