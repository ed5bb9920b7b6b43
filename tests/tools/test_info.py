# SPDX-License-Identifier: MIT
"""A volume at rest is described from its store and members, and a broken one too."""

import json
from uuid import uuid4

import pytest

from iomapd.errors import LayoutFileError, StoreMissingError
from iomapd.meta.records import LayoutRecord, MemberRecord, ProgramRecord, VolumeRecord
from iomapd.meta.store import create_store
from iomapd.tools import info
from iomapd.tools.info import volume_info
from tests.tools.fake_server import fake_server, mount_entry
from tests.volume.builders import build

pytestmark = pytest.mark.usefixtures("private_runtime_dir")


@pytest.fixture
def volume(tmp_path):
    """Three image files, their store and their layout file, as create leaves them."""
    built = build(tmp_path)
    members = [
        MemberRecord(m.id, m.index, m.uuid, str(path), m.data_offset, m.data_size)
        for m, path in zip(built.identities, built.paths, strict=True)
    ]
    create_store(
        tmp_path / "v.db",
        VolumeRecord(built.uuid, "scratch", 1_700_000_000_000_000_000),
        members,
        ProgramRecord(1, "raid0", 1, "ab" * 32, "source"),
        LayoutRecord(1, 65536, 0, 65536, 1 << 30, 1),
        (0, 0),
    )
    lines = ["[volume]", 'name = "scratch"', 'unit = "64KiB"']
    for path in built.paths:
        lines += ["[[member]]", f'path = "{path.name}"']
    (tmp_path / "v.toml").write_text("\n".join(lines))
    return built


def layout_of(volume):
    return volume.directory / "v.toml"


def test_store_and_superblocks_tell_the_whole_story(volume):
    body = volume_info(layout_of(volume))
    assert (body["schema"], body["version"], body["mounted"], body["pid"]) == (
        "iomapd.info",
        1,
        False,
        None,
    )
    assert body["uuid"] == body["volume"]["uuid"] == str(volume.uuid)
    assert (body["unit"], body["program"]) == (65536, "raid0")
    assert [m["path"] for m in body["members"]] == [str(path) for path in volume.paths]
    assert [m["status"] for m in body["members"]] == ["ok"] * 3
    assert body["space"] == {
        "size": sum(m.data_size for m in volume.identities),
        "used": 0,
        "free": sum(m.data_size for m in volume.identities),
        "held": 0,
    }
    assert body["warnings"] == []
    json.dumps(body)


def test_a_member_names_its_volume(volume):
    assert volume_info(volume.paths[1])["uuid"] == str(volume.uuid)


def test_a_flipped_byte_is_told_and_the_backup_serves(volume):
    with volume.paths[1].open("r+b") as file:
        file.seek(100)
        file.write(b"\xff")
    body = volume_info(layout_of(volume))
    assert body["members"][1]["status"] == "ok"
    assert "m1.img: first superblock copy" in body["warnings"][0]


def test_a_missing_member_is_missing_and_the_others_are_shown(volume):
    volume.paths[2].unlink()
    body = volume_info(layout_of(volume))
    assert [m["status"] for m in body["members"]] == ["ok", "ok", "missing"]
    assert str(volume.paths[2]) in body["warnings"][0]


def test_a_moved_member_is_found_by_its_uuid(volume):
    moved = volume.paths[0].rename(volume.directory / "renamed.img")
    body = volume_info(layout_of(volume))
    assert body["members"][0]["path"] == str(moved)
    assert body["members"][0]["status"] == "ok"


def test_a_stale_member_says_so_in_its_status(volume):
    volume.put(0, generation=9)
    body = volume_info(layout_of(volume))
    assert "generation" in body["members"][0]["status"]


def test_a_member_of_another_volume_does_not_pass_for_ours(volume):
    volume.put(0, volume=uuid4())
    body = volume_info(layout_of(volume))
    assert "is a member of volume" in body["warnings"][0]


def test_looking_changes_nothing(volume):
    def state():
        return {
            path.name: path.read_bytes()
            for path in volume.directory.iterdir()
            if path.suffix in (".img", ".db", ".toml")
        }

    before = state()
    volume_info(layout_of(volume))
    assert state() == before


def test_a_mounted_volume_is_asked_from_its_server(volume, monkeypatch):
    entry = mount_entry()
    monkeypatch.setattr(info, "served_mounts", lambda: [entry])
    answer = {"uuid": str(volume.uuid), "pid": 7}
    with fake_server(entry, {"info": {"ok": True, "result": answer}}):
        assert volume_info(layout_of(volume)) == answer


def test_a_server_of_another_volume_is_not_ours(volume, monkeypatch):
    entry = mount_entry()
    monkeypatch.setattr(info, "served_mounts", lambda: [entry])
    with fake_server(entry, {"info": {"ok": True, "result": {"uuid": str(uuid4())}}}):
        assert volume_info(layout_of(volume))["mounted"] is False


def test_a_store_that_is_not_there_is_named(volume):
    (volume.directory / "v.db").unlink()
    with pytest.raises(StoreMissingError, match=r"v\.db"):
        volume_info(layout_of(volume))


def test_what_is_no_volume_is_said(tmp_path):
    (tmp_path / "letter.txt").write_text("Dear volume,")
    with pytest.raises(LayoutFileError, match=r"letter\.txt"):
        volume_info(tmp_path / "letter.txt")
