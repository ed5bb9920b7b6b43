# SPDX-License-Identifier: MIT
"""Assembling a volume: every way in which members can be wrong has a line of its own."""

import os
import shutil
import struct
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from iomapd.errors import (
    MemberBusyError,
    MemberError,
    MemberMissingError,
    StoreStaleError,
    SuperblockError,
    UnknownFormatError,
)
from iomapd.volume.copies import read_superblock
from iomapd.volume.member import write_generation
from iomapd.volume.superblock import BACKUP_COPY, FIRST_COPY, encode
from tests.volume import builders
from tests.volume.builders import DATA_SIZE, SIZE, flip
from tests.volume.test_superblock import resealed


def open_fds():
    return len(list(Path("/proc/self/fd").iterdir()))


def refused(volume, error, **options):
    """Open *volume*, expect *error*; return its one line; nothing stays open."""
    before = open_fds()
    with pytest.raises(error) as caught:
        volume.open(**options)
    assert open_fds() == before
    assert type(caught.value) is error
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def opened():
    """A function that opens a volume; members are closed at the end."""
    all_members = []

    def open_all(volume, **options):
        members = volume.open(**options)
        all_members.extend(members)
        return members

    yield open_all
    for member in all_members:
        member.close()


def test_members_come_in_index_order_whatever_the_file_says(volume, opened):
    members = opened(volume, candidates=volume.paths[::-1])
    assert [m.index for m in members] == [0, 1, 2]
    assert [m.path for m in members] == volume.paths
    assert [(m.id, m.uuid) for m in members] == [(m.id, m.uuid) for m in volume.identities]
    first = members[0]
    assert (first.kind, first.data_offset, first.data_size) == ("file", 1 << 20, DATA_SIZE)
    assert (first.logical_sector, first.warnings) == (512, [])
    assert os.pread(first.fd, 8, 0) == b"\x89IOMAPD\n"


def test_members_are_held_until_closed(volume, opened):
    members = opened(volume)
    message = refused(volume, MemberBusyError)
    assert f"locked by process {os.getpid()}" in message
    for member in members:
        member.close()
        member.close()
    opened(volume)


def test_read_only_members_cannot_be_written(volume, opened):
    member = opened(volume, read_only=True)[0]
    with pytest.raises(MemberError, match="Bad file descriptor"):
        write_generation(member, 2)


def test_a_missing_member_is_named_by_index_uuid_and_path(volume):
    volume.paths[1].rename(volume.directory / "gone")
    (volume.directory / "gone").unlink()
    message = refused(volume, MemberMissingError)
    assert f"member 1, UUID {volume.identities[1].uuid}, is missing" in message
    assert f"(not there: {volume.paths[1]})" in message
    assert "every member must be present" in message


def test_a_member_that_the_layout_forgot_is_missing_or_found(tmp_path, opened):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    volume = builders.build(tmp_path / "here")
    moved = volume.paths[2].rename(tmp_path / "there" / "m2.img")
    assert "member 2" in refused(volume, MemberMissingError, candidates=volume.paths[:2])
    for hint in (moved, moved.parent):
        members = opened(volume, hints=[hint])
        assert members[2].path == moved
        assert members[2].warnings == [f"{moved}: member 2 was found here by UUID"]
        for member in members:
            member.close()


def test_a_renamed_member_is_found_beside_the_others(volume, opened):
    moved = volume.paths[1].rename(volume.directory / "renamed.img")
    os.mkfifo(volume.directory / "a fifo that nobody writes to")
    assert opened(volume)[1].path == moved


def test_swapped_paths_do_not_matter(volume, opened):
    a, b, _ = volume.paths
    a.rename(volume.directory / "t")
    b.rename(a)
    (volume.directory / "t").rename(b)
    assert [m.path for m in opened(volume)[:2]] == [b, a]


def test_a_file_without_superblock_is_refused(volume):
    with volume.paths[1].open("r+b") as file:
        file.write(bytes(4096))
        file.seek(volume.identities[1].backup)
        file.write(bytes(4096))
    assert f"{volume.paths[1]}: carries no iomapd superblock" in refused(volume, SuperblockError)


def test_a_file_too_small_for_a_superblock_is_refused(volume):
    os.truncate(volume.paths[1], 100)
    assert "no whole copy of the superblock" in refused(volume, SuperblockError)
    os.truncate(volume.paths[1], 0)
    assert "carries no iomapd superblock" in refused(volume, SuperblockError)


def test_one_flipped_byte_is_served_by_the_backup_and_mended_by_the_next_generation(volume, opened):
    flip(volume.paths[0], 300)
    member = opened(volume)[0]
    assert member.served == BACKUP_COPY
    assert "the backup at byte" in member.warnings[0]
    write_generation(member, 2)
    found = read_superblock(member.fd, member.path, SIZE)
    assert (found.superblock.generation, found.served, found.warnings) == (2, FIRST_COPY, ())
    assert member.superblock.generation == 2


def test_both_copies_damaged_is_refused(volume):
    flip(volume.paths[0], 300)
    flip(volume.paths[0], volume.identities[0].backup + 300)
    assert f"{volume.paths[0]}: no whole copy" in refused(volume, SuperblockError)


def test_a_member_of_another_volume_is_refused_with_both_uuids(tmp_path, volume):
    (tmp_path / "other").mkdir()
    other = builders.build(tmp_path / "other")
    message = refused(volume, SuperblockError, candidates=[*volume.paths[:2], other.paths[2]])
    assert message.startswith(f"{other.paths[2]}: is a member of volume {other.uuid}")
    assert str(volume.uuid) in message


def test_a_member_that_the_store_does_not_know_is_refused(volume):
    stranger = replace(volume.identities[1], uuid=uuid4())
    volume.put(1, member=stranger)
    assert f"member {stranger.uuid} is unknown" in refused(volume, SuperblockError)


def test_a_clone_is_refused_with_both_paths(volume):
    clone = volume.directory / "clone.img"
    shutil.copyfile(volume.paths[0], clone)
    message = refused(volume, SuperblockError, candidates=[*volume.paths, clone])
    assert message.startswith(f"{clone}: is a clone of {volume.paths[0]}")
    assert str(volume.identities[0].uuid) in message


def test_a_clone_that_is_not_listed_does_not_matter(volume, opened):
    shutil.copyfile(volume.paths[0], volume.directory / "backup-of-m0.img")
    assert opened(volume)[0].path == volume.paths[0]


def test_two_clones_of_a_missing_member_are_not_chosen_between(volume):
    for name in ("x.img", "y.img"):
        shutil.copyfile(volume.paths[1], volume.directory / name)
    volume.paths[1].unlink()
    assert "y.img: is a clone of" in refused(volume, SuperblockError)


def test_the_same_member_twice_is_refused(volume):
    link = volume.directory / "link.img"
    link.symlink_to(volume.paths[0])
    for twin in (volume.paths[0], link):
        message = refused(volume, MemberError, candidates=[*volume.paths, twin])
        assert message == f"{twin}: is {volume.paths[0]} once more; a volume has each member once"


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"id": 9}, "id 9"), ({"index": 0}, "index 0"), ({"data_size": 1 << 20}, "1048576 bytes"),
     ({"data_offset": 8192}, "at byte 8192")],
)  # fmt: skip
def test_another_geometry_than_the_store_s_is_refused(volume, changes, said):
    volume.put(1, member=replace(volume.identities[1], **changes))
    message = refused(volume, SuperblockError)
    assert said in message
    assert "the store says id 2, index 1" in message


def test_another_member_set_is_refused(volume):
    volume.put(1, set_digest=bytes(32))
    assert "was made for another set of members" in refused(volume, SuperblockError)
    volume.put(1, nr_members=4)
    assert "was made for another set of members" in refused(volume, SuperblockError)


def test_members_at_the_settled_and_at_the_pending_generation_are_current(volume, opened):
    volume.generations = (4, 5)
    for index, generation in enumerate((4, 5, 4)):
        volume.put(index, generation=generation)
    assert [m.superblock.generation for m in opened(volume)] == [4, 5, 4]


def test_a_stale_member_is_refused(volume):
    volume.generations = (4, 5)
    for index, generation in enumerate((4, 3, 5)):
        volume.put(index, generation=generation)
    message = refused(volume, SuperblockError)
    assert message.startswith(f"{volume.paths[1]}: is stale: of generation 3, the store of 4")


def test_a_store_older_than_its_members_is_refused_as_the_stale_one(volume):
    volume.put(2, generation=2)
    message = refused(volume, StoreStaleError)
    assert message.startswith(f"{volume.paths[2]}: is of generation 2, the store of 1")


def test_a_newer_format_is_refused(volume):
    newer = resealed(encode(volume.superblock(0), FIRST_COPY), 12, struct.pack("<I", 3))
    with volume.paths[0].open("r+b") as file:
        file.write(newer)
    assert "format version 3; this iomapd knows version 1" in refused(volume, UnknownFormatError)


def test_a_newer_feature_may_allow_reading_only(volume, opened):
    volume.put(0, ro_compat=1)
    assert "mount with -o ro" in refused(volume, SuperblockError)
    opened(volume, read_only=True)


def test_a_member_that_shrank_is_refused(volume):
    os.truncate(volume.paths[1], SIZE - 4096)
    message = refused(volume, MemberError)
    assert message.startswith(f"{volume.paths[1]}: has {SIZE - 4096} bytes, member 1 needs {SIZE}")


def test_a_member_that_grew_is_as_good_as_before(volume, opened):
    os.truncate(volume.paths[1], SIZE * 2)
    flip(volume.paths[1], 0)
    assert opened(volume)[1].data_size == volume.identities[1].data_size


def test_a_member_inside_the_mountpoint_is_refused(volume, opened):
    message = refused(volume, MemberError, mountpoint=volume.directory)
    assert "lies inside the mountpoint" in message
    (volume.directory / "mnt").mkdir()
    opened(volume, mountpoint=volume.directory / "mnt")


@pytest.mark.slow
def test_the_same_volume_opens_over_loop_devices(volume, attach, opened):
    loops = [attach(path) for path in volume.paths]
    members = opened(volume, candidates=loops)
    assert [m.kind for m in members] == ["block"] * 3
    write_generation(members[0], 2)
    with volume.paths[0].open("rb") as file:
        file.seek(volume.identities[0].backup)
        assert file.read(4096) == encode(volume.superblock(0, generation=2), BACKUP_COPY)


@pytest.mark.slow
def test_a_loop_device_that_moved_is_found_among_all_block_devices(volume, attach, opened):
    loops = [attach(path) for path in volume.paths]
    assert opened(volume, candidates=[loops[0], loops[1]])[2].path == loops[2]


@pytest.mark.slow
def test_a_link_to_a_device_that_is_gone_leads_to_the_device_not_to_the_file(
    volume, attach, opened
):
    loops = [attach(path) for path in volume.paths]
    links = [volume.directory / f"loop{i}" for i in range(3)]
    for link, loop in zip(links, loops, strict=True):
        link.symlink_to(loop)
    links[1].unlink()
    links[1].symlink_to("/dev/iomapd-absent")
    members = opened(volume, candidates=links)
    assert [m.kind for m in members] == ["block"] * 3
    assert members[1].path == loops[1]


@pytest.mark.slow
def test_a_file_under_a_loop_device_is_in_use(volume, attach):
    loop = attach(volume.paths[1])
    message = refused(volume, MemberBusyError)
    assert message == f"{volume.paths[1]}: is in use: attached to {loop}"
    message = refused(volume, MemberError, candidates=[*volume.paths, loop])
    assert message == f"{loop}: is {volume.paths[1]} once more; a volume has each member once"


def test_a_mountpoint_that_is_absent_hides_nothing(volume, opened):
    opened(volume, mountpoint=volume.directory / "absent")
