# SPDX-License-Identifier: MIT
"""The oracle of power cuts: what it lets pass, and what not."""

import pytest

from tests.faults.plane import Node
from tests.faults.promises import History, Oracle, Promise

FILE = Node(2, 0o100644, 0, 0, 1, b"", ())
NONE, ALL = 0, 1 << 40


def history():
    """Written, written over in part, cut short, appended to: events 1 to 4."""
    file = History(2)
    file.write(0, b"a" * 3000)
    file.write(512, b"b" * 1024)
    file.truncate(1000, 1)
    file.write(1000, b"c" * 5000)
    return file


A, AB = b"a" * 3000, b"a" * 512 + b"b" * 1024 + b"a" * 1464
CUT, LONG = AB[:1000], AB[:1000] + b"c" * 5000


@pytest.mark.parametrize(
    ("found", "promised", "prefix"),
    [
        (b"", 0, NONE),
        (A, 1, NONE),
        (AB, 1, NONE),
        (A[:512] + b"b" * 512 + A[1024:], 1, NONE),  # torn between sectors
        (CUT, 1, ALL),
        (LONG, 1, ALL),
        (LONG[:3000], 2, NONE),  # the truncate is lost, what followed it is there in place
        (CUT, 2, ALL),
    ],
)
def test_what_a_power_cut_may_leave_passes(found, promised, prefix):
    assert history().judge(found, promised, prefix) is None


@pytest.mark.parametrize(
    ("found", "promised", "prefix", "told"),
    [
        (A, 2, NONE, "old bytes"),
        (bytes(3000), 1, NONE, "zeros"),
        (b"x" * 3000, 0, NONE, "never held there"),
        (A[:2000], 1, NONE, "size 2000"),
        (CUT, 2, NONE, "size 1000"),  # shorter, though the truncate is lost
        (AB, 2, ALL, "size 3000"),  # longer, though the truncate is there
        (LONG[:1024] + bytes(4976), 1, ALL, "is of event 4"),  # size before data
    ],
)
def test_what_a_power_cut_may_not_leave_is_told(found, promised, prefix, told):
    problem = history().judge(found, promised, prefix)
    assert problem is not None
    assert told in problem


def test_a_truncate_that_was_lost_shows_what_lay_behind_the_end_again():
    file = history()
    file.truncate(600, 2)
    file.write(600, b"d" * 100)
    assert file.judge(LONG[:600] + b"d" * 100 + LONG[700:], 4, 1) is None
    file.truncate(5000, 3)
    stale = LONG[:600] + b"d" * 100 + LONG[700:5000]
    assert "is of event" in file.judge(stale, 4, ALL)


def oracle():
    """A file made, two links, a third; then the first name is gone."""
    known = Oracle()
    for tree in ({"a": FILE}, {"a": FILE, "b": FILE}, {"b": FILE}):
        known.operated(tree)
    known.files[2] = History(2)
    return known


def test_names_are_a_prefix_of_all_operations():
    assert oracle().judge({"a": FILE}, {2: b""}, 0).problems == []
    assert "no instant" in oracle().judge({"c": FILE}, {2: b""}, 0).problems[0]


def test_promised_operations_are_there():
    known = oracle()
    known.promise(Promise(2))
    assert "are lost" in known.judge({"a": FILE}, {2: b""}, 1).problems[0]
    assert known.judge({"a": FILE}, {2: b""}, 0).problems == [], "not promised yet"
    assert known.judge({"b": FILE}, {2: b""}, 1).problems == []


def test_who_sees_a_replacing_rename_sees_the_data():
    known = oracle()
    known.files[2].write(0, b"new")
    known.bind(3, 2, 1)
    assert known.judge({"a": FILE}, {2: b""}, 0).problems == []
    assert known.judge({"b": FILE}, {2: b""}, 0).problems != []
    assert known.judge({"b": FILE}, {2: b"new"}, 0).problems == []
