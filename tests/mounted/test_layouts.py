# SPDX-License-Identifier: MIT
"""Layouts of directories: handed to what is made in them, never to what is already there."""

import json
import os

import pytest

from tests.mounted import tagged
from tests.mounted.harness import ON_HOST

pytestmark = pytest.mark.skipif(ON_HOST, reason="the host's file system has no layouts")
MIB = 1 << 20
VOLUME = {"members": 4, "unit": "64KiB"}


def layout(volume, path):
    return json.loads(volume.cli("layout", "get", "--json", path).stdout)


def members_of(volume, path):
    return {piece["member"] for piece in volume.map(path)["extents"]}


def longest_piece(volume, path):
    return max(piece["length"] for piece in volume.map(path)["extents"])


def test_a_new_directory_has_the_volumes_layout(workdir, shared_volume):
    found = layout(shared_volume, workdir)
    assert (found["unit"], found["width"], found["program"]) == (65536, 0, "raid0")
    assert found["inherited"] is True


def test_what_is_made_in_a_directory_gets_its_layout_and_keeps_it(workdir, shared_volume):
    before = workdir / "before"
    before.write_bytes(tagged.content(1, 4 * MIB))
    shared_volume.cli("layout", "set", workdir, "--unit", "1MiB", "--width", "2")
    (workdir / "inner").mkdir()
    for path in (workdir / "after", workdir / "inner/file"):
        path.write_bytes(tagged.content(2, 8 * MIB))
    shared_volume.remount()
    assert layout(shared_volume, workdir / "inner")["inherited"] is True
    for path in (workdir / "after", workdir / "inner/file"):
        found = layout(shared_volume, path)
        assert (found["unit"], found["width"]) == (MIB, 2)
        assert len(members_of(shared_volume, path)) == 2
        assert longest_piece(shared_volume, path) >= MIB
        tagged.check(path.read_bytes(), 2)
        tagged.check(shared_volume.mapped_bytes(path), 2)
    assert layout(shared_volume, before)["unit"] == 65536
    assert len(members_of(shared_volume, before)) == 4
    # It goes on growing as it was made.
    with before.open("ab") as file:
        file.write(tagged.content(1, 4 * MIB, 4 * MIB))
    assert len(members_of(shared_volume, before)) == 4
    tagged.check(shared_volume.mapped_bytes(before), 1)


def test_width_one_interleaves_nothing(workdir, shared_volume):
    shared_volume.cli("layout", "set", workdir, "--width", "1")
    path = workdir / "file"
    path.write_bytes(tagged.content(1, 6 * MIB))
    # A row has one member; the next extent may well choose another.
    assert len(shared_volume.map(path)["extents"]) <= 6
    tagged.check(shared_volume.mapped_bytes(path), 1)


def test_the_layout_is_an_attribute_too(workdir, shared_volume):
    words = dict(w.split("=") for w in os.getxattr(workdir, "user.iomapd.layout").decode().split())
    assert (words["unit"], words["program"]) == ("65536", "raid0")
    os.setxattr(workdir, "user.iomapd.layout", b"unit=4096 width=3")
    found = layout(shared_volume, workdir)
    assert (found["unit"], found["width"]) == (4096, 3)
    path = workdir / "file"
    path.write_bytes(tagged.content(1, MIB))
    assert longest_piece(shared_volume, path) < 65536
    tagged.check(path.read_bytes(), 1)


def test_an_empty_file_takes_a_layout_and_a_written_one_refuses_it(workdir, shared_volume):
    path = workdir / "file"
    path.touch()
    shared_volume.cli("layout", "set", path, "--unit", "128KiB")
    path.write_bytes(tagged.content(1, MIB))
    assert layout(shared_volume, path)["unit"] == 128 << 10
    done = shared_volume.cli("layout", "set", path, "--unit", "64KiB", check=False)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert layout(shared_volume, path)["unit"] == 128 << 10


@pytest.mark.parametrize("options", [
    ("--unit", "3000"), ("--unit", "0"), ("--unit", "64QB"), ("--width", "5"), ("--width", "-1"),
    ("--program", "unheard-of"), ("--param", "x"), ("--param", "depth=3"), (),
])  # fmt: skip
def test_a_wrong_layout_is_refused_and_changes_nothing(options, workdir, shared_volume):
    before = layout(shared_volume, workdir)
    done = shared_volume.cli("layout", "set", workdir, *options, check=False)
    assert done.returncode in (1, 2)
    (line,) = done.stderr.strip().splitlines()
    assert not options or any(word in line for word in (*options, "depth")), line
    assert layout(shared_volume, workdir) == before


@pytest.mark.parametrize("value", [b"unit", b"unit=3000", b"colour=3", b"\xff", b"width=99"])
def test_a_wrong_attribute_value_is_einval(value, workdir):
    before = os.getxattr(workdir, "user.iomapd.layout")
    with pytest.raises(OSError, match="Invalid argument"):
        os.setxattr(workdir, "user.iomapd.layout", value)
    assert os.getxattr(workdir, "user.iomapd.layout") == before
