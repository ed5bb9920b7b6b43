# SPDX-License-Identifier: MIT
"""The picture that ``iomapd stats`` draws of a server's counters."""

import copy

import pytest

from iomapd.cli.stats_view import bar, difference, flatten, percentile, render

IO = {"reads": 0, "read_bytes": 0, "writes": 0, "written_bytes": 0, "errors": 0}
EMPTY = {
    "schema": "iomapd.stats",
    "version": 1,
    "uptime_ns": 3 * 10**9,
    "data_plane": {"lanes": 0, "reason": "off: asked for by --lanes 0"},
    "lanes": {},
    "requests": {},
    "points": {"made": 0},
    "members": [{"index": 0, "id": 1, "flushes": 0, "last_error": "", **IO, "by_lanes": IO}],
}
BUSY = {
    **EMPTY,
    "uptime_ns": 5 * 10**9,
    "data_plane": {"lanes": 2, "reason": "one per CPU"},
    "lanes": {
        "reads": 100, "read_bytes": 100 << 20, "writes": 0, "written_bytes": 0,
        "parked": 3, "resumed": 3, "errors": 0, "undelivered": 0,
        "forwarded": {"unmapped": 0, "partial": 7},
        "threads": [{"name": "lane 0", "reads": 60, "writes": 0},
                    {"name": "lane 1", "reads": 40, "writes": 0}],
        "read_latency": [{"bin": 18, "below_ns": 131_072, "count": 98},
                         {"bin": 20, "below_ns": 524_288, "count": 2}],
        "write_latency": [],
    },
    "requests": {"lookup": {"count": 4, "ns": 200_000}},
    "points": {"made": 2, "ns_max": 1_500_000},
    "space": {"free": 3 << 20, "held": 0},
    "members": [{**EMPTY["members"][0], "reads": 8, "read_bytes": 8 << 20, "last_error": "EIO",
                 "by_lanes": {**IO, "reads": 6, "read_bytes": 6 << 20}}],
}  # fmt: skip


def drawn(counters, elapsed=0.0):
    return "\n".join(render(counters, elapsed))


def test_without_lanes_it_says_why():
    text = drawn(EMPTY)
    assert "lanes    off: asked for by --lanes 0" in text
    assert "mounted for 3.0s" in text
    assert "latency" not in text


def test_every_figure_has_its_unit():
    text = drawn(BUSY)
    rows = [line.split() for line in text.splitlines()]
    assert ["read", "100", "100MiB", "<131us", "<524us", "<524us"] in rows
    assert ["lookup", "4", "50us"] in rows
    assert ["0", "8", "8MiB", "0", "0B", "75%", "0", "0"] in rows
    assert "left to Python: partial 7" in text
    assert "served by lane 0: 60, lane 1: 40" in text
    assert "points     made 2, ns_max 1.5ms" in text
    assert "space      free 3MiB" in text
    assert "member 0: EIO" in text


def test_a_histogram_shows_the_empty_bars_between_full_ones():
    lines = drawn(BUSY).splitlines()
    first = lines.index("READ latency") + 1
    assert [line.split()[0] for line in lines[first : first + 3]] == ["<131us", "<262us", "<524us"]
    assert [line.split()[-1] for line in lines[first : first + 3]] == ["98", "0", "2"]


def test_a_watch_shows_what_happened_since_the_last_look():
    later = copy.deepcopy(BUSY)
    later["lanes"]["reads"] += 50
    later["lanes"]["read_bytes"] += 50 << 20
    later["lanes"]["read_latency"][1]["count"] += 50
    later["members"][0]["read_bytes"] += 4 << 20
    changed = difference(later, BUSY)
    assert changed["lanes"]["read_latency"] == [{"bin": 20, "below_ns": 524_288, "count": 50}]
    assert changed["data_plane"] == BUSY["data_plane"]
    assert changed["members"][0]["index"] == 0
    rows = [line.split() for line in drawn(changed, 2.0).splitlines()]
    assert ["read", "25", "25MiB", "<524us", "<524us", "<524us"] in rows
    assert ["0", "0", "2MiB", "0", "0B", "0%", "0", "0"] in rows


def test_the_first_look_at_a_busy_server_may_come_after_one_at_an_idle_one():
    assert difference(BUSY, EMPTY)["lanes"]["reads"] == 100


@pytest.mark.parametrize(("share", "bound"), [(0.5, 131_072), (0.98, 131_072), (0.99, 524_288)])
def test_a_percentile_is_the_bound_of_its_bar(share, bound):
    assert percentile(BUSY["lanes"]["read_latency"], share) == bound


def test_what_is_there_at_all_has_a_bar():
    assert bar(0) == ""
    assert bar(1e-9)
    assert len(bar(1.0, 10)) == 10


def test_counters_are_flat():
    counters = {"reads": 30, "members": [{"bytes": 4096}], "name": "x"}
    assert dict(flatten(counters)) == {"reads": 30, "members.0.bytes": 4096, "name": "x"}
