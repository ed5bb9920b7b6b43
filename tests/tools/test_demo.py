# SPDX-License-Identifier: MIT
"""The demo does what it says on a real mount, and leaves nothing behind, whatever happens."""

import pytest

from iomapd.abi.mountinfo import read_mounts
from iomapd.cli.bench import render
from iomapd.errors import IomapdError, SpaceError
from iomapd.tools import demo
from iomapd.tools.bench import Settings
from iomapd.tools.demo import DemoSettings, run_demo
from iomapd.tools.fio import FioError, Point
from iomapd.volume.layout_file import parse_layout

MIB = 1 << 20
POINTS = (Point("read", True, 1), Point("write", True, 1))


@pytest.fixture
def settings(tmp_path):
    bench = Settings(POINTS, rounds=1, seconds=0.05, size=16 * MIB)
    return DemoSettings(tmp_path, nr_members=3, member_size=48 * MIB, bench=bench)


@pytest.fixture
def nothing_left(tmp_path):
    yield
    assert list(tmp_path.iterdir()) == []
    assert [e for e in read_mounts() if e.mountpoint.is_relative_to(tmp_path)] == []


def silently(*told):
    pass


@pytest.mark.mounted
@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left")
def test_the_whole_life_of_a_volume(settings):
    steps = []
    report = run_demo(settings, steps.append, silently)
    assert report.verified == (16 + 1) * MIB
    assert [step.command.split()[:2] for step in steps] == [
        ["cd", steps[0].command.split()[1]],
        ["iomapd", "create"],
        ["iomapd", "mount"],
        ["fio", "--verify=crc32c"],
        ["fio", "--verify=crc32c"],
        ["iomapd", "map"],
        ["iomapd", "bench"],
        ["iomapd", "umount"],
    ]
    # Consecutive units of the file go round the members.
    assert [piece["length"] for piece in report.pieces] == [settings.unit] * 4
    members = [piece["member"] for piece in report.pieces]
    assert sorted(members[:3]) == [0, 1, 2]
    assert members[3] == members[0]
    table = render(report.bench)
    assert "sequential read" in table
    assert all(result.of_ceiling() for result in report.bench.results)


@pytest.mark.mounted
@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left")
def test_an_interrupt_in_the_middle_unmounts_and_removes(settings):
    def interrupt(step):
        if step.command.startswith("fio"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_demo(settings, interrupt, silently)


@pytest.mark.mounted
@pytest.mark.slow
def test_a_failure_keeps_the_servers_log_and_says_where(settings, tmp_path, monkeypatch):
    def fail(*arguments):
        raise FioError("fio: verify: no")

    monkeypatch.setattr(demo, "verify", fail)
    with pytest.raises(IomapdError, match=r"fio: verify: no; the server's log: .*\.log"):
        run_demo(settings, silently, silently)
    (log,) = tmp_path.iterdir()
    assert "mounted" in log.read_text()


@pytest.mark.usefixtures("nothing_left")
def test_too_little_room_is_said_before_anything_is_made(tmp_path):
    with pytest.raises(SpaceError, match=r"free, the demo needs .*--directory"):
        run_demo(DemoSettings(tmp_path, member_size=1 << 60), silently, silently)


def test_the_layout_is_one_a_user_could_have_written(tmp_path):
    layout = parse_layout(demo.layout_text(DemoSettings()), tmp_path / "demo.toml")
    assert len(layout.members) == 4
    assert layout.unit == 65536
