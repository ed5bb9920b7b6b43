# SPDX-License-Identifier: MIT
"""Free space as a stateful model: no byte is given twice, none is lost."""

from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from iomapd.control.freespace import Doubts, FreeSpace, rebuild

SIZE = 64 * 4096


class Space(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.space = FreeSpace({1: SIZE, 2: SIZE})
        for member in self.space.members.values():
            member.give(0, SIZE)
        self.owned = []
        self.held = []

    @rule(member=st.sampled_from([1, 2]), blocks=st.integers(1, 9), low=st.booleans())
    def take(self, member, blocks, low):
        space = self.space.members[member]
        addr = (space.take_low if low else space.take_high)(blocks * 4096)
        if addr is None:
            assert space.largest() < blocks * 4096
        else:
            self.owned.append((member, (addr, addr + blocks * 4096)))

    @precondition(lambda self: self.owned)
    @rule(data=st.data(), hold=st.booleans())
    def give_back(self, data, hold):
        span = self.owned.pop(data.draw(st.integers(0, len(self.owned) - 1)))
        if hold:
            self.space.hold([span])
            self.held.append(span)
        else:
            self.space.release([span])

    @rule(passes=st.booleans())
    def point(self, passes):
        taken = self.space.take_held()
        if passes:
            self.space.settle(taken)
            self.held.clear()
        else:
            self.space.unsettle(taken)

    @invariant()
    def nothing_is_given_twice_and_nothing_is_lost(self):
        for number, member in self.space.members.items():
            spans = [span for m, span in self.owned + self.held if m == number] + list(member)
            spans.sort()
            assert spans[0][0] == 0
            assert spans[-1][1] == SIZE
            assert all(a[1] == b[0] for a, b in pairwise(spans))
            assert member.free == sum(end - start for start, end in member)
        assert self.space.held == sum(end - start for _, (start, end) in self.held)

    @invariant()
    def a_rebuild_finds_the_same(self):
        spans = [(1, *span) for span in self.owned + self.held]
        doubts = Doubts()
        again = rebuild({1: SIZE, 2: SIZE}, spans, doubts)
        assert not doubts.sentences
        assert again.free == self.space.free


TestSpace = Space.TestCase
TestSpace.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_an_overlap_names_both_files():
    doubts = Doubts()
    rebuild({1: SIZE}, [(7, 1, (0, 8192)), (9, 1, (4096, 12288))], doubts)
    assert doubts.sentences == ["inode 7 and inode 9 both own [4096, 8192) of member 1"]
    assert list(doubts.contested[1]) == [(4096, 8192)]


@pytest.mark.parametrize("span", [(0, SIZE + 4096), (-4096, 4096), (8192, 8192)])
def test_a_span_outside_its_member_is_named(span):
    doubts = Doubts()
    rebuild({1: SIZE}, [(7, 1, span)], doubts)
    assert len(doubts.sentences) == 1
    assert "inode 7" in doubts.sentences[0]
