# SPDX-License-Identifier: MIT
"""mountinfo is read as the kernel writes it, odd names and unknown lines included."""

from pathlib import Path

from iomapd.abi.mountinfo import find_mount, parse_mountinfo, read_mounts

TEXT = rb"""22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
36 22 0:57 / /mnt/a\040b rw,nosuid,nodev master:1 shared:7 - fuse.iomapd scratch rw,user_id=1000
37 36 0:58 / /mnt/a\040b ro - tmpfs none ro
38 22 0:59 / /mnt/\134back\012line rw - fuse x rw
what a later kernel may add
39 22 0:60 / /mnt/plain rw - proc proc rw
"""


def test_every_field_is_found_whatever_the_number_of_tags():
    entry = parse_mountinfo(TEXT)[1]
    assert entry.mount_id == 36
    assert entry.device == (0, 57)
    assert entry.mountpoint == Path("/mnt/a b")
    assert entry.fstype == "fuse.iomapd"
    assert entry.source == "scratch"
    assert "nosuid" in entry.options
    assert entry.super_option("user_id") == "1000"
    assert entry.super_option("group_id") is None


def test_blanks_backslashes_and_newlines_in_names_come_back():
    assert parse_mountinfo(TEXT)[3].mountpoint == Path("/mnt/\\back\nline")


def test_an_unknown_line_is_left_out():
    assert [entry.mount_id for entry in parse_mountinfo(TEXT)] == [22, 36, 37, 38, 39]


def test_a_later_mount_covers_an_earlier_one():
    entry = find_mount(Path("/mnt/a b"), parse_mountinfo(TEXT))
    assert entry is not None
    assert entry.fstype == "tmpfs"


def test_a_link_to_a_mountpoint_is_followed(tmp_path):
    link = tmp_path / "link"
    link.symlink_to("/mnt/plain")
    entry = find_mount(link, parse_mountinfo(TEXT))
    assert entry is not None
    assert entry.mount_id == 39


def test_a_trailing_slash_and_a_linked_parent_do_not_matter(tmp_path):
    (tmp_path / "mnt").symlink_to("/mnt")
    entry = find_mount(Path(f"{tmp_path}/mnt/plain/"), parse_mountinfo(TEXT))
    assert entry is not None
    assert entry.mount_id == 39


def test_a_directory_that_is_no_mountpoint_is_none(tmp_path):
    assert find_mount(tmp_path) is None


def test_the_running_kernel_is_understood():
    assert Path("/") in {entry.mountpoint for entry in read_mounts()}
