# SPDX-License-Identifier: MIT
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from iomapd.control.freespace import FreeSpace
from iomapd.control.policy import Maker, Need, Wish, wanted
from iomapd.mapping.extent import check_extent
from iomapd.meta.records import LayoutRecord

UNIT, WIDTH = 16384, 4
ROW = UNIT * WIDTH
LAYOUT = LayoutRecord(1, UNIT, 0, 65536, 1 << 20, 1)
BLOCKS = st.integers(0, 64).map(lambda n: n * 4096)


@st.composite
def needs(draw):
    hole = sorted({draw(BLOCKS), draw(BLOCKS), draw(BLOCKS), draw(BLOCKS)})
    if len(hole) < 4:
        hole = [0, 4096, 20480, 1 << 20]
    size = draw(st.integers(0, 300_000))
    return Need(hole[1], hole[2], hole[0], hole[3], size, 1 << 30)


@given(needs())
def test_wishes_cover_the_need_and_stay_in_the_hole(need):
    wishes = wanted(need, LAYOUT, WIDTH)
    assert wishes[0].start <= need.start
    assert wishes[-1].end >= need.end
    assert all(a.end == b.start for a, b in pairwise(wishes))
    assert all(need.hole_start <= w.start < w.end <= need.hole_end for w in wishes)
    assert all((w.end - w.start) % ROW == 0 for w in wishes if w.wide)


class Anything:
    """Programs that serve every geometry, like raid0."""

    def is_prefix(self, layout):
        return True

    def serves(self, layout, nr_strips, strip_length, seed):
        return True


def test_a_small_file_costs_what_it_holds():
    assert wanted(Need(0, 4096, 0, 1 << 40, 0, 1 << 30), LAYOUT, WIDTH) == [Wish(0, 4096, False)]


def test_small_appends_get_the_rest_of_their_unit_at_once():
    need = Need(4096, 8192, 4096, 1 << 40, 4096, 1 << 30)
    assert wanted(need, LAYOUT, WIDTH) == [Wish(4096, UNIT, False, speculative=True)]
    need = Need(UNIT, UNIT + 4096, UNIT, 1 << 40, UNIT, 1 << 30)
    assert wanted(need, LAYOUT, WIDTH) == [Wish(UNIT, 2 * UNIT, False, speculative=True)]


def test_a_write_of_whole_rows_gets_whole_rows():
    assert wanted(Need(0, 2 * ROW, 0, 1 << 40, 0, 1 << 30), LAYOUT, WIDTH) == [
        Wish(0, 2 * ROW, True)
    ]


def test_a_growing_file_gets_as_much_again():
    need = Need(4 * ROW, 5 * ROW, 4 * ROW, 1 << 40, 4 * ROW, 1 << 30)
    assert wanted(need, LAYOUT, WIDTH) == [Wish(4 * ROW, 8 * ROW, True, speculative=True)]


def test_speculation_never_takes_more_than_an_eighth_of_what_is_free():
    need = Need(64 * ROW, 65 * ROW, 64 * ROW, 1 << 40, 64 * ROW, 16 * ROW)
    (wish,) = wanted(need, LAYOUT, WIDTH)
    assert wish.end - wish.start == 2 * ROW


def test_a_hole_inside_a_file_is_filled_by_its_row():
    need = Need(10 * ROW + 8192, 10 * ROW + 12288, ROW, 20 * ROW, 30 * ROW, 1 << 30)
    assert wanted(need, LAYOUT, WIDTH) == [Wish(10 * ROW, 11 * ROW, True)]


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=5),
    st.integers(0, 30),
    st.integers(1, 40),
    st.booleans(),
)
def test_extents_cover_the_wish_until_not_one_block_is_left(free, start, blocks, wide):
    sizes = {i + 1: 41 * 4096 for i in range(len(free))}
    space = FreeSpace(sizes)
    for member, n in enumerate(free, 1):
        if n:
            space.members[member].give(0, n * 4096)
    before = space.free
    wish = Wish(start * 4096, (start + blocks) * 4096, wide)
    made = list(Maker(space, list(sizes), Anything()).make(3, wish, LAYOUT))
    at = wish.start
    for extent in made:
        check_extent(extent, sizes)
        assert extent.offset == at
        at = extent.end
    assert at == wish.end or space.free == 0
    assert sum(e.length for e in made) == before - space.free


def members_of(width, *wishes, size=1 << 24):
    """Members that a file of a layout of *width* gets, extent by extent, and its extents."""
    space = FreeSpace(dict.fromkeys((1, 2, 3, 4), size))
    for member in space.members.values():
        member.give(0, size)
    maker = Maker(space, list(space.members), Anything())
    layout = LayoutRecord(1, UNIT, width, 65536, 1 << 20, 1)
    extents = [extent for wish in wishes for extent in maker.make(7, wish, layout)]
    return [{strip.member for strip in extent.strips} for extent in extents], extents


def test_a_layout_of_width_one_stripes_nothing():
    members, extents = members_of(1, Wish(0, 4096, False), Wish(UNIT, 20 * UNIT, True))
    assert len(set().union(*members)) == 1
    assert [extent.length for extent in extents] == [4096, 19 * UNIT]


def test_single_strips_lie_on_the_members_of_the_wide_rows():
    members, _ = members_of(
        2, Wish(0, UNIT, False), Wish(UNIT, 2 * UNIT, False), Wish(2 * UNIT, 6 * UNIT, True)
    )
    assert len(members[-1]) == 2
    assert set().union(*members) == members[-1]
    assert members[0] != members[1]


def test_a_narrow_file_goes_to_other_members_when_its_own_are_full():
    members, extents = members_of(1, Wish(0, 1 << 22, True), size=1 << 20)
    assert len(set().union(*members)) == 4
    assert sum(extent.length for extent in extents) == 1 << 22
