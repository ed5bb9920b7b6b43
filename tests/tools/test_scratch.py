# SPDX-License-Identifier: MIT
"""Twins are of the member's kind, leave the member alone, and do not stay."""

import os

import pytest

from iomapd.tools import scratch
from iomapd.tools.scratch import twins_of

MIB = 1 << 20


@pytest.fixture
def members(tmp_path):
    paths = [tmp_path / f"m{index}.img" for index in range(3)]
    for path in paths:
        path.write_bytes(path.name.encode() * 100)
    return paths


def listing(directory):
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.slow
def test_an_image_files_twin_lies_beside_it_and_goes_away(members, tmp_path):
    before = listing(tmp_path)
    with twins_of(members, MIB) as twins:
        assert len(twins.targets) == 3
        assert twins.notes == ()
        paths = [path for target in twins.targets for path in target.paths]
        assert not set(paths) & set(members)
        assert all(path.parent == tmp_path and path.stat().st_size == MIB for path in paths)
        ceiling = twins.together()
        assert ceiling is not None
        assert ceiling.paths == tuple(paths)
    assert listing(tmp_path) == before
    assert [path.read_bytes() for path in members] == [p.name.encode() * 100 for p in members]


@pytest.mark.slow
def test_a_member_without_room_is_left_out_and_the_ceiling_with_it(members, monkeypatch):
    monkeypatch.setattr(scratch, "_ROOM_LEFT", 1 << 62)
    with twins_of(members[:1], MIB) as twins:
        assert twins.targets == ()
        assert twins.together() is None
        assert "member 0 is not measured" in twins.notes[0]
        assert "no room" in twins.notes[0]


@pytest.mark.slow
def test_a_crash_inside_leaves_nothing(members, tmp_path):
    before = listing(tmp_path)
    with pytest.raises(KeyboardInterrupt), twins_of(members, MIB):
        raise KeyboardInterrupt
    assert listing(tmp_path) == before


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="loop devices need root")
def test_a_loop_devices_twin_is_a_loop_device(tmp_path):
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(2 * MIB))
    device = scratch._losetup("--find", "--show", str(image))
    try:
        with twins_of([scratch.Path(device)], MIB) as twins:
            twin = twins.targets[0].paths[0]
            assert twin.is_block_device()
            assert str(twin) != device
            assert twins.targets[0].writable
        assert listing(tmp_path) == ["disk.img"]
        assert image.read_bytes() == bytes(2 * MIB)
    finally:
        scratch._losetup("--detach", device)
