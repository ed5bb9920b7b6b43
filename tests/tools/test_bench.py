# SPDX-License-Identifier: MIT
"""What a bench report says follows from the rates, and missing rates are said to be missing."""

import json

import pytest

from iomapd.errors import SpaceError
from iomapd.tools import bench
from iomapd.tools.bench import FULL, QUICK, BenchReport, PointResult, Settings
from iomapd.tools.fio import Point, Rate

POINT = Point("read", direct=True, depth=8)
GIB = 1 << 30


def rates(*bandwidths):
    return [Rate(bandwidth * GIB, bandwidth * 1024, 1e6) for bandwidth in bandwidths]


def report(**targets):
    volume = {"members": [{"path": "/a"}, {"path": "/b"}], "unit": 65536}
    return BenchReport(volume, Settings(), (PointResult(POINT, targets),), ("a note",), {})


def test_every_pattern_cache_and_depth_is_a_point():
    assert len(FULL) == len(set(FULL)) == 16
    assert tuple(point for point in FULL if point.direct) == QUICK


def test_of_ceiling_is_the_median_of_ratios_within_a_round():
    # The machine was twice as fast in the second round: a ratio of medians would not care
    # which ceiling belongs to which mount.
    result = PointResult(POINT, {"mount": rates(1, 4, 3), "ceiling": rates(4, 8, 4)})
    assert result.of_ceiling() == pytest.approx(0.5)
    assert result.spread() == pytest.approx(0.5)
    assert result.bandwidth("mount") == 3 * GIB


def test_without_a_ceiling_there_is_no_ratio():
    result = PointResult(POINT, {"mount": rates(1, 2)})
    assert result.of_ceiling() is None
    assert result.bandwidth("ceiling") is None
    assert PointResult(POINT).spread() is None


def test_a_point_is_described_in_words():
    assert bench.describe_point(POINT) == "1MiB sequential read, O_DIRECT, 8 in flight"
    assert bench.describe_point(Point("randwrite", direct=False, depth=1)) == (
        "1MiB random write, buffered, 1 in flight"
    )


def test_the_json_body_is_plain_and_complete():
    made = report(member0=rates(1), member1=rates(1), ceiling=rates(2, 2), mount=rates(1, 1))
    assert made.members() == ["member0", "member1"]
    body = json.loads(json.dumps(made.body()))
    assert (body["schema"], body["version"]) == ("iomapd.bench", 1)
    point = body["points"][0]
    assert point["of_ceiling"] == 0.5
    assert point["targets"]["ceiling"]["bandwidth_of_rounds"] == [2 * GIB, 2 * GIB]
    assert body["notes"] == ["a note"]


def test_members_are_measured_once_and_the_pair_in_every_round(monkeypatch):
    asked = []

    def measure(point, targets, seconds):
        asked.append([target.name for target in targets])
        return {target.name: rates(1)[0] for target in targets}

    monkeypatch.setattr(bench, "measure", measure)
    member = bench.Target("member0", (), 1)
    mount = bench.Target("mount", (), 1)
    settings = Settings((POINT,), rounds=3)
    twins = bench.Twins((member,), ())
    (result,) = bench._rounds(settings, mount, twins, lambda *told: None)
    assert asked == [["member0", "ceiling", "mount"], ["ceiling", "mount"], ["ceiling", "mount"]]
    assert {name: len(found) for name, found in result.rates.items()} == {
        "member0": 1,
        "ceiling": 3,
        "mount": 3,
    }


def test_a_volume_without_room_is_said_before_anything_is_written(tmp_path):
    with (
        pytest.raises(SpaceError, match=r"free, the scratch file needs 4194304TiB"),
        bench._file_on(tmp_path, 1 << 62),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_chart_is_drawn(tmp_path):
    from iomapd.tools.chart import draw_chart

    made = report(ceiling=rates(2, 2), mount=rates(1, 1))
    drawn = BenchReport(made.volume, made.settings, made.results, (), {"cpus": 2, "kernel": "6.18"})
    draw_chart(drawn, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_a_server_that_reads_through_the_page_cache_is_noted():
    member = {"io_mode": "buffered", "memory_backed": False}
    assert "may come from memory" in next(bench._notes([member]))
    assert list(bench._notes([{**member, "io_mode": "direct"}])) == []
    assert list(bench._notes([{**member, "memory_backed": True}])) == []
