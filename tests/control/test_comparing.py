# SPDX-License-Identifier: MIT
"""Two maps differ where a plain look at both lists says so, interpreted and compiled alike."""

import itertools
from types import SimpleNamespace

import pytest

from iomapd.control.comparing import Candidate, Comparer, to_come
from tests.jit.admission.test_proving import BLOCK, blocks, table

PLACES = [(strip, addr) for strip in range(2) for addr in range(2)]


@pytest.fixture(scope="module", params=["interpreted", "compiled"])
def comparer(request):
    return Comparer(interpreted=request.param == "interpreted")


def candidate(name, code, **known):
    admission = SimpleNamespace(**({"uses_seed": False, "step_bound": 1} | known))
    return Candidate(name, SimpleNamespace(address=code.address, admission=admission), ())


def differ(comparer, one, other):
    """Compare two maps of two strips of two blocks."""
    old, new = table(one), table(other)  # which keep their code
    return comparer.differ(candidate("old", old), candidate("new", new), BLOCK, 2, 2 * BLOCK, 1)


def test_every_pair_of_maps(comparer):
    for one, other in itertools.product(itertools.permutations(PLACES), repeat=2):
        words = differ(comparer, blocks(*one), blocks(*other))
        first = next((i for i in range(4) if one[i] != other[i]), None)
        if first is None:
            assert words == ""
        else:
            assert words.startswith(f"the block at pos {first * BLOCK} goes to address ")


def test_lengths_do_not_count(comparer):
    one, longer = blocks(*PLACES), blocks(*PLACES)
    longer[0] = (1, 0, 0, 2 * BLOCK)
    assert differ(comparer, one, longer) == differ(comparer, longer, one) == ""


def test_what_is_no_map_takes_nobodys_place(comparer):
    good, twice = blocks(*PLACES), blocks(*PLACES[:3], PLACES[0])
    assert "under new the block at pos 12288" in differ(comparer, good, twice)
    assert differ(comparer, twice, good) == ""  # it has no extents


def test_who_declines_is_followed_by_who_declines(comparer):
    good, declines = blocks(*PLACES), [(0, 0, 0, 0)] * 4
    assert differ(comparer, declines, declines) == ""
    assert "FALLBACK" in differ(comparer, good, declines)
    assert "new serves what old declines" in differ(comparer, declines, good)


def test_extents_to_come_are_those_of_the_layout_first_and_no_endless_list():
    code = table(blocks(*PLACES))
    cheap, dear = candidate("a", code), candidate("b", code, step_bound=4096, uses_seed=True)
    found = list(to_come(cheap, cheap, 12288, 3, 8 * 12288))
    assert found[0] == (12288, 2, 12288, 1)
    assert {unit for unit, *_ in found[:10]} == {12288}
    assert max(strips for unit, strips, *_ in found if unit == 4096) > 3
    few = list(to_come(cheap, dear, 12288, 3, 8 * 12288))
    assert len({seed for *_, seed in few}) > 1
    assert sum(strips * length for _, strips, length, _ in few) <= (2 << 29) // 4096 * BLOCK
