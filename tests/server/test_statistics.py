# SPDX-License-Identifier: MIT
"""Counters of both planes, added up."""

from iomapd.server.statistics import add_up

PYTHON = {"index": 0, "id": 7, "reads": 2, "read_bytes": 20, "writes": 1, "written_bytes": 10,
          "errors": 0, "flushes": 3, "last_error": ""}  # fmt: skip
LANES = {"reads": 5, "read_bytes": 500, "writes": 0, "written_bytes": 0, "errors": 1,
         "last_error": "I/O at 4096: Input/output error"}  # fmt: skip


def test_a_member_has_the_io_of_both_planes():
    (member,) = add_up([PYTHON], {7: LANES})
    assert (member["reads"], member["read_bytes"], member["writes"]) == (7, 520, 1)
    assert (member["errors"], member["flushes"]) == (1, 3)
    assert member["last_error"] == LANES["last_error"]
    assert member["by_lanes"]["reads"] == 5


def test_without_lanes_it_is_pythons_alone():
    (member,) = add_up([{**PYTHON, "last_error": "read at 1: EIO"}], {})
    assert (member["reads"], member["last_error"]) == (2, "read at 1: EIO")
    assert set(member["by_lanes"].values()) == {0}
