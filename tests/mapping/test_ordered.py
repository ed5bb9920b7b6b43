# SPDX-License-Identifier: MIT
"""The ordered list against a naive model: a dict from block to what lies behind it."""

from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from iomapd.mapping.ordered import OrderedRecords


@dataclass(frozen=True)
class Linear:
    offset: int
    end: int
    addr: int

    def cut(self, start, end):
        return Linear(start, end, self.addr + start - self.offset)

    def join(self, following):
        if self.end == following.offset and following.addr == self.addr + self.end - self.offset:
            return Linear(self.offset, following.end, self.addr)
        return None


POINT = st.integers(0, 24)
STEP = st.tuples(st.booleans(), POINT, POINT, st.integers(0, 3))


@given(st.lists(STEP, max_size=20))
def test_upsert_and_invalidate_match_a_dict_of_blocks(steps):
    records, model = OrderedRecords(), {}
    for upsert, a, b, place in steps:
        start, end = sorted((a, b))
        if upsert and start < end:
            # Addresses that sometimes continue each other, so that joining happens.
            record = Linear(start, end, start + 100 * place)
            records.upsert(record)
            model.update({pos: record.addr + pos - start for pos in range(start, end)})
        elif not upsert:
            records.invalidate(start, end)
            model = {pos: addr for pos, addr in model.items() if not start <= pos < end}
        for pos in range(25):
            found = records.find(pos)
            assert (found.addr + pos - found.offset if found else None) == model.get(pos)


@given(st.lists(STEP, max_size=20))
def test_records_stay_sorted_disjoint_and_joined(steps):
    records = OrderedRecords()
    for upsert, a, b, place in steps:
        start, end = sorted((a, b))
        if start < end:
            records.upsert(Linear(start, end, start + 100 * place)) if upsert else (
                records.invalidate(start, end)
            )
    listed = list(records)
    for left, right in pairwise(listed):
        assert left.end <= right.offset
        assert left.join(right) is None


@given(st.lists(STEP, max_size=20), POINT, st.integers(1, 40))
def test_reach_ends_at_the_first_gap_or_when_it_has_seen_enough(steps, pos, limit):
    records = OrderedRecords()
    for upsert, a, b, place in steps:
        start, end = sorted((a, b))
        if upsert and start < end:
            records.upsert(Linear(start, end, start + 100 * place))
    known = {block for record in records for block in range(record.offset, record.end)}
    gap = next(block for block in range(pos, 26) if block not in known)
    found = records.reach(pos, limit)
    assert pos <= found <= gap
    assert found == gap or limit < len(records)
