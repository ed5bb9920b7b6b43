# SPDX-License-Identifier: MIT
"""Programs attached to a mounted volume and put in each other's place under running requests."""

import json

import pytest

from tests.control.test_exchange import SAME
from tests.mounted import tagged
from tests.mounted.harness import ON_HOST
from tests.mounted.test_migrate import Crew, programs_of

pytestmark = pytest.mark.skipif(ON_HOST, reason="the host's file system has no programs")
MIB = 1 << 20
SIZE = 4 * MIB


@pytest.fixture
def same(tmp_path):
    path = tmp_path / "same.py"
    path.write_text(SAME)
    return path


def test_readers_and_writers_notice_nothing(make_volume, same):
    volume = make_volume(members=3, memory=True, lanes="2")
    path = volume.mnt / "f"
    path.write_bytes(tagged.content(1, SIZE))
    with Crew(path, SIZE) as crew:
        done = volume.cli("program", "replace", volume.mnt, "raid0", same)
        assert done.stdout.startswith("same@")
        assert "map alike" in done.stdout
        assert 'program = "same"' in done.stderr
    crew.check(path.read_bytes())
    assert programs_of(volume, path) == {"same"}
    crew.check(volume.mapped_bytes(path))
    (volume.mnt / "new").write_bytes(tagged.content(2, SIZE))
    assert programs_of(volume, volume.mnt / "new") == {"same"}
    # The layout file locates the volume and repeats what it is: it has to follow.
    volume.layout.write_text(volume.layout.read_text().replace('"raid0"', '"same"'))
    same.unlink()
    volume.remount()
    crew.check(path.read_bytes())
    tagged.check((volume.mnt / "new").read_bytes(), 2)


def test_what_maps_otherwise_is_refused_in_a_line(make_volume):
    volume = make_volume(members=3, memory=True)
    path = volume.mnt / "f"
    path.write_bytes(tagged.content(1, SIZE))
    for old, new, words in (
        ("raid0", "reverse", "the block at pos 0 goes to address"),
        ("raid0", "unheard-of", "unheard-of"),
        ("unheard-of", "raid0", "the volume has none of this name"),
        ("raid0", "raid0", "has this very text already"),
    ):
        done = volume.cli("program", "replace", volume.mnt, old, new, check=False)
        (line,) = done.stderr.splitlines()
        assert done.returncode == 1
        assert words in line
    assert programs_of(volume, path) == {"raid0"}
    volume.remount()
    tagged.check(path.read_bytes(), 1)


def test_an_attached_program_is_known_by_its_name(make_volume, same):
    volume = make_volume(members=3, memory=True)
    found = json.loads(volume.cli("program", "attach", "--json", volume.mnt, same).stdout)
    assert (found["schema"], found["name"]) == ("iomapd.program.attach", "same")
    same.unlink()
    volume.remount()
    volume.cli("layout", "set", volume.mnt, "--program", "same")
    (volume.mnt / "f").write_bytes(tagged.content(1, SIZE))
    assert programs_of(volume, volume.mnt / "f") == {"same"}
    # The root goes back to what the layout file says.
    back = volume.cli("program", "replace", "--json", volume.mnt, "same", "raid0")
    assert json.loads(back.stdout)["new"]["name"] == "raid0"
    assert programs_of(volume, volume.mnt / "f") == {"raid0"}
