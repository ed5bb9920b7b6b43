# SPDX-License-Identifier: MIT
"""fio is driven as asked, its numbers are read, its complaints are passed on."""

import pytest

from iomapd.tools import fio
from iomapd.tools.fio import FioError, Point, Target

MIB = 1 << 20


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "a:b"  # fio takes a colon for a separator
    fio.fill([path], 4 * MIB)
    return Target("one", (path,), 4 * MIB)


@pytest.mark.slow
def test_fill_writes_every_byte(target):
    assert target.paths[0].stat().st_size == 4 * MIB


@pytest.mark.slow
def test_targets_are_measured_one_after_the_other(target, tmp_path):
    both = Target("two", (target.paths[0], tmp_path / "c"), 4 * MIB)
    fio.fill([tmp_path / "c"], 4 * MIB)
    rates = fio.measure(Point("read", direct=False, depth=1), [target, both], 0.05)
    assert list(rates) == ["one", "two"]
    assert all(rate.bandwidth > 0 and rate.latency_ns > 0 for rate in rates.values())


@pytest.mark.slow
def test_a_queue_of_eight_is_kept(target):
    assert fio.queue_engine() in ("io_uring", "libaio")
    rates = fio.measure(Point("write", direct=False, depth=8), [target], 0.05)
    assert rates["one"].iops > 0


@pytest.mark.slow
def test_a_number_of_requests_ends_a_job(target):
    point = Point("randread", direct=False, depth=1, block_size=4096, requests=10)
    rate = fio.measure(point, [target], 5)["one"]
    assert rate.bandwidth == pytest.approx(rate.iops * 4096, rel=0.01)
    assert 0 < rate.p50_ns <= rate.p99_ns


@pytest.mark.slow
def test_jobs_side_by_side_add_up_and_stay_within_the_file(target):
    rates = fio.measure(Point("randwrite", False, 1, 4096, jobs=3), [target], 0.05)
    assert rates["one"].iops > 0
    assert target.paths[0].stat().st_size == 4 * MIB


@pytest.mark.slow
def test_a_fresh_file_is_made_anew_and_written_once(target):
    before = target.paths[0].stat().st_ino
    keep = target.paths[0].open("rb")  # so that the number is not given to the new file
    with keep:
        rates = fio.measure(Point("write", False, 1, fresh=True), [target], 5)
    assert rates["one"].bandwidth > 0
    found = target.paths[0].stat()
    assert found.st_ino != before
    assert found.st_size == 4 * MIB


def test_a_target_for_reading_is_never_written(target):
    before = target.paths[0].read_bytes()
    only = Target("one", target.paths, 4 * MIB, writable=False)
    assert fio.measure(Point("randwrite", direct=False, depth=1), [only], 0.05) == {}
    assert target.paths[0].read_bytes() == before


@pytest.mark.slow
def test_what_was_verified_is_counted(tmp_path):
    assert fio.verify(tmp_path / "v", 4 * MIB, 4096, "randwrite", jobs=2) == 4 * MIB
    assert [path.name for path in tmp_path.iterdir()] == ["v"]


@pytest.mark.slow
def test_a_file_that_cannot_be_written_is_an_error_in_words(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FioError, match="Not a directory"):
        fio.fill([tmp_path / "file" / "x"], MIB)


def test_no_fio_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FioError, match="apt-get install fio"):
        fio.fill([tmp_path / "x"], MIB)
