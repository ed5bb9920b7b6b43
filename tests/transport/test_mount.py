# SPDX-License-Identifier: MIT
"""Mount points, options, and what mountinfo says."""

import os
from pathlib import Path

import pytest

from iomapd.abi.mountinfo import parse_mountinfo
from iomapd.errors import MountError
from iomapd.transport import mount as mounting
from iomapd.transport.mount import FLAGS, MountOptions, check_mountpoint

TABLE = rb"""22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
36 22 0:32 / /sys/fs/fuse/connections rw - fusectl none rw
40 22 0:41 / /mnt/a\040b\134c rw,nosuid master:2 propagate_from:3 - fuse.iomapd my\040vol rw
41 22 0:41 / /mnt/twice rw - tmpfs none rw
42 22 0:52 / /mnt/twice rw - fuse.iomapd vol rw
"""


def test_a_missing_mountpoint_is_refused(tmp_path):
    with pytest.raises(MountError, match="missing: No such file or directory"):
        check_mountpoint(tmp_path / "missing")


def test_a_file_is_no_mountpoint(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(MountError, match="file: not a directory"):
        check_mountpoint(tmp_path / "file")


def test_a_directory_with_entries_is_refused_unless_asked_for(tmp_path):
    (tmp_path / "entry").touch()
    with pytest.raises(MountError, match="not empty"):
        check_mountpoint(tmp_path)
    assert check_mountpoint(tmp_path, nonempty=True) == tmp_path


def test_links_are_resolved_once_and_for_all(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert check_mountpoint(tmp_path / "link") == tmp_path / "real"
    monkeypatch.chdir(tmp_path)
    assert check_mountpoint(Path("link")) == tmp_path / "real"


def test_a_mounted_file_system_is_refused_without_entering_it(tmp_path, monkeypatch):
    entry = next(e for e in parse_mountinfo(TABLE) if e.device[1] == 52)
    monkeypatch.setattr(mounting, "find_mount", lambda path: entry if path == tmp_path else None)
    with pytest.raises(MountError, match=r"fuse\.iomapd is mounted here already"):
        check_mountpoint(tmp_path)


def test_flags_are_those_of_the_kernel():
    named = {name: getattr(os, f"ST_{name.upper()}", None) for name in FLAGS}
    shared = {"nosuid", "nodev", "noexec", "noatime", "nodiratime"}
    assert {name: named[name] for name in shared} == {name: FLAGS[name] for name in shared}


@pytest.fixture
def helper(tmp_path, monkeypatch):
    """A fusermount3 that notes its arguments and fails with a sentence."""
    script = tmp_path / "fusermount3"
    script.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/arguments\n'
        'echo "warning" >&2\necho "fusermount3: no permission" >&2\nexit 1\n'
    )
    script.chmod(0o755)
    monkeypatch.setattr(mounting, "_helper", lambda: str(script))
    monkeypatch.setattr(mounting.os, "geteuid", lambda: 1000)
    return tmp_path / "arguments"


def test_ordinary_users_mount_through_the_helper(helper, tmp_path):
    options = MountOptions(
        fsname="a,b\\c", subtype="", flags=frozenset({"ro", "noatime"}), allow_other=True
    )
    with pytest.raises(MountError, match=r"fusermount3: no permission$"):
        mounting.mount(tmp_path, options)
    assert helper.read_text().splitlines() == [
        "-o",
        "fsname=a\\,b\\\\c,noatime,ro,default_permissions,allow_other",
        "--",
        str(tmp_path),
    ]


@pytest.mark.parametrize(("lazy", "switches"), [(False, ["-u"]), (True, ["-u", "-z"])])
def test_ordinary_users_unmount_through_the_helper(helper, tmp_path, lazy, switches):
    with pytest.raises(MountError, match="no permission"):
        mounting.unmount(tmp_path, lazy=lazy)
    assert helper.read_text().splitlines() == [*switches, "--", str(tmp_path)]


def test_a_missing_helper_is_named(monkeypatch):
    monkeypatch.setattr(mounting.shutil, "which", lambda name: None)
    with pytest.raises(MountError, match="fusermount3 is not installed"):
        mounting._helper()
