# SPDX-License-Identifier: MIT
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from iomapd.geometry.ranges import RangeSet, round_down, round_up

POINT = st.integers(0, 40)
STEPS = st.lists(st.tuples(st.booleans(), POINT, POINT), max_size=20)


def build(steps):
    ranges, model = RangeSet(), set()
    for add, a, b in steps:
        start, end = sorted((a, b))
        (ranges.add if add else ranges.remove)(start, end)
        model = model | set(range(start, end)) if add else model - set(range(start, end))
    return ranges, model


@given(STEPS)
def test_a_range_set_is_the_set_of_its_integers(steps):
    ranges, model = build(steps)
    assert {i for start, end in ranges for i in range(start, end)} == model
    assert ranges.total() == len(model)
    assert ranges.end() == max(model, default=-1) + 1


@given(STEPS)
def test_ranges_stay_sorted_disjoint_and_merged(steps):
    listed = list(build(steps)[0])
    assert all(start < end for start, end in listed)
    assert all(a[1] < b[0] for a, b in pairwise(listed))


@given(STEPS, POINT, POINT)
def test_queries_agree_with_the_integers(steps, a, b):
    ranges, model = build(steps)
    start, end = sorted((a, b))
    window = set(range(start, end))
    assert ranges.contains(start, end) == (window <= model)
    assert ranges.overlaps(start, end) == bool(window & model)
    assert {i for s, e in ranges.intersect(start, end) for i in range(s, e)} == window & model
    assert {i for s, e in ranges.gaps(start, end) for i in range(s, e)} == window - model
    pieces = list(ranges.pieces(start, end))
    assert [i for s, e, _ in pieces for i in range(s, e)] == sorted(window)
    assert all((s in model) == present for s, _, present in pieces)


@given(st.integers(0, 2**63), st.integers(1, 2**40))
def test_rounding_brackets_the_value(value, unit):
    low, high = round_down(value, unit), round_up(value, unit)
    assert low <= value <= high
    assert low % unit == high % unit == 0
    assert high - low in (0, unit)


def test_a_span_ends_where_membership_changes():
    ranges = RangeSet([(10, 20), (30, 40)])
    assert [ranges.span(pos) for pos in (0, 9, 10, 19, 20, 29, 39, 40)] == [
        (False, 10), (False, 10), (True, 20), (True, 20), (False, 30), (False, 30), (True, 40),
        (False, None),
    ]  # fmt: skip
