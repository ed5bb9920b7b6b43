# SPDX-License-Identifier: MIT
"""The table of requests on their way."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iomapd.native.region import Region
from iomapd.transport.block import PENDING_SLOTS
from iomapd.transport.pending import OPENING, OPENS, PLAIN, UNKNOWN, outstanding


@pytest.fixture
def table():
    return Region(8 * PENDING_SLOTS)


def test_a_reply_finds_what_its_request_was(functions, table):
    functions["note"](table.addr, 2, 0)
    functions["note"](table.addr, 4, OPENS)
    assert functions["settle"](table.addr, 4) == OPENING
    assert functions["settle"](table.addr, 2) == PLAIN
    assert functions["settle"](table.addr, 2) == UNKNOWN


def test_a_newer_request_in_the_same_slot_wins(functions, table):
    old, new = 6, 6 + 2 * PENDING_SLOTS
    functions["note"](table.addr, old, OPENS)
    functions["note"](table.addr, new, 0)
    assert functions["settle"](table.addr, old) == UNKNOWN
    assert functions["settle"](table.addr, new) == PLAIN


def test_interrupts_are_not_requests(functions, table):
    functions["note"](table.addr, 9, 0)
    assert outstanding(table.addr) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40), st.booleans()), max_size=60))
def test_it_behaves_like_a_dictionary_with_a_bound(functions, table, steps):
    outstanding(table.addr)
    model = {}
    for is_request, number, opens in steps:
        unique = 2 * (number % 8 + PENDING_SLOTS * (number // 8) + 1)
        slot = (unique >> 1) % PENDING_SLOTS
        if is_request:
            functions["note"](table.addr, unique, int(opens))
            model[slot] = (unique, opens)
        else:
            known, opened = model.get(slot, (None, False))
            expected = UNKNOWN if known != unique else OPENING if opened else PLAIN
            assert functions["settle"](table.addr, unique) == expected
            if known == unique:
                del model[slot]
    assert sorted(outstanding(table.addr)) == sorted(unique for unique, _ in model.values())
    assert outstanding(table.addr) == []
