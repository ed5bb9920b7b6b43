# SPDX-License-Identifier: MIT
"""The ready-made layouts parse, and the recipes make what they list and take it away again."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from iomapd.abi.shipped import shipped_dir
from iomapd.tools.create import create_volume
from iomapd.volume.layout_file import load_layout

DEVICES = shipped_dir("devices")
LAYOUTS = sorted(DEVICES.glob("*.toml"))
RECIPES = sorted(DEVICES.glob("*.sh"))
THROTTLE = Path("/sys/fs/cgroup/blkio/blkio.throttle.read_bps_device")


def loops(home):
    """Loop devices over files in *home*: others may come and go meanwhile."""
    listed = subprocess.run(
        ["losetup", "--noheadings", "--output", "NAME,BACK-FILE"],
        check=True, capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    rows = (line.split(maxsplit=1) for line in listed.stdout.splitlines())
    return {Path(name).name for name, backing in rows if backing.startswith(f"{home}/")}


def run(recipe, *arguments):
    return subprocess.run(
        ["sh", DEVICES / recipe, *map(str, arguments)], capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


def test_every_set_is_there_and_told_of():
    names = {path.stem for path in LAYOUTS}
    assert names == {
        "four-files", "unequal", "eight-small", "memory", "four-loops", "throttled-loops"
    }  # fmt: skip
    readme = (DEVICES / "README.md").read_text()
    for path in (*LAYOUTS, *RECIPES):
        assert f"`{path.name}`" in readme


@pytest.mark.parametrize("path", LAYOUTS, ids=lambda p: p.stem)
def test_layouts_parse_and_are_called_like_their_files(path):
    layout = load_layout(path)
    assert layout.name == path.stem
    assert len(layout.members) >= 4
    # Never into the package: a layout file is copied to where its members are.
    assert all(member.path.is_relative_to(DEVICES) for member in layout.members)


@pytest.mark.parametrize("name", ["four-files", "unequal", "eight-small"])
def test_image_sets_need_no_recipe(tmp_path, name):
    shutil.copy(DEVICES / f"{name}.toml", tmp_path)
    layout = load_layout(tmp_path / f"{name}.toml")
    report = create_volume(layout, dry_run=name != "eight-small")
    assert all(member.is_made for member in report.members)


def test_unequal_members_are_unequal():
    sizes = [member.size for member in load_layout(DEVICES / "unequal.toml").members]
    assert len(set(sizes)) > 2


def test_a_recipe_does_not_take_away_what_a_server_has_open(tmp_path):
    home = tmp_path / "home"
    assert run("memory.sh", "up", home).returncode == 0
    with (home / "memory.db").open("w"):
        done = run("memory.sh", "down", home)
        assert done.returncode == 1
        assert "is mounted; unmount it first" in done.stderr
        assert (home / "memory.db").exists()
    assert run("memory.sh", "down", home).returncode == 0
    assert not home.exists()


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipes_say_how_they_are_used(path, tmp_path):
    for arguments in ([], ["sideways", tmp_path]):
        done = run(path.name, *arguments)
        assert done.returncode == 2
        assert f"{path.name} up DIRECTORY" in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert os.access(path, os.X_OK)


@pytest.mark.slow
def test_memory_is_made_used_and_given_back(tmp_path):
    home = tmp_path / "m"
    assert run("memory.sh", "up", home).returncode == 0
    place = (home / "memory").readlink()
    try:
        assert "is up already" in run("memory.sh", "up", home).stderr
        layout = load_layout(home / "memory.toml")
        report = create_volume(layout)
        assert layout.unit == 4096
        assert {member.path.resolve().parent for member in report.members} == {place}
    finally:
        assert run("memory.sh", "down", home).returncode == 0
    assert not home.exists()
    assert not place.exists()


def test_a_link_that_leads_elsewhere_is_left_alone(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "memory").symlink_to(tmp_path / "precious")
    assert "left alone" in run("memory.sh", "down", tmp_path / "m").stderr
    assert (tmp_path / "precious").exists()


@pytest.fixture
def root():
    if os.geteuid() != 0 or not Path("/dev/loop-control").exists():
        pytest.skip("loop devices need root and /dev/loop-control")


@pytest.mark.slow
@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("name", ["four-loops", "throttled-loops"])
def test_loop_devices_are_made_used_and_detached(tmp_path, name):
    if name == "throttled-loops" and not THROTTLE.exists():
        pytest.skip("no blkio controller of cgroup v1; limits of v2 hold only in their group")
    home = tmp_path / "l"
    assert run(f"{name}.sh", "up", home).returncode == 0
    try:
        made = loops(home)
        assert len(made) == 4
        layout = load_layout(home / f"{name}.toml")
        report = create_volume(layout)
        assert {member.path.resolve().name for member in report.members} == made
        if name == "throttled-loops":
            limits = dict(line.split() for line in THROTTLE.read_text().splitlines())
            numbers = {Path(f"/sys/block/{loop}/dev").read_text().strip() for loop in made}
            assert {limits[number] for number in numbers} == {str(100 << 20)}
    finally:
        assert run(f"{name}.sh", "down", home).returncode == 0
    assert loops(home) == set()
    assert not home.exists()
    if name == "throttled-loops":
        left = {line.split()[0] for line in THROTTLE.read_text().splitlines()}
        assert not left & numbers


@pytest.mark.slow
@pytest.mark.usefixtures("root")
def test_half_a_set_is_taken_back(tmp_path):
    home = tmp_path / "l"
    home.mkdir()
    (home / "backing2").mkdir()  # no file can be made there
    assert run("four-loops.sh", "up", home).returncode != 0
    assert loops(home) == set()
