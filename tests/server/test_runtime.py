# SPDX-License-Identifier: MIT
"""The admin socket's place: private, named by device number, found for anybody's mount."""

import os
from pathlib import Path

import pytest

from iomapd.abi.mountinfo import MountEntry
from iomapd.errors import MountError
from iomapd.server import runtime


def entry(device=(0, 57), uid=None):
    options = ("rw",) if uid is None else ("rw", f"user_id={uid}")
    return MountEntry(9, device, Path("/"), Path("/mnt/x"), "fuse.iomapd", "x", ("rw",), options)


@pytest.fixture
def ordinary_user(monkeypatch):
    """Somebody who is not root, in a session, whoever runs the tests."""
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    monkeypatch.delenv("IOMAPD_RUNTIME_DIR", raising=False)


def test_the_directory_is_made_private(tmp_path, monkeypatch):
    monkeypatch.setenv("IOMAPD_RUNTIME_DIR", str(tmp_path / "run"))
    assert runtime.runtime_dir() == tmp_path / "run"
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
    assert runtime.runtime_dir() == tmp_path / "run"


def test_a_directory_open_to_others_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("IOMAPD_RUNTIME_DIR", str(tmp_path))
    tmp_path.chmod(0o755)
    with pytest.raises(MountError, match="0755, must be 0700: chmod"):
        runtime.runtime_dir()


def test_a_link_planted_in_its_place_is_refused(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setenv("IOMAPD_RUNTIME_DIR", str(tmp_path / "run"))
    with pytest.raises(MountError, match="must be a directory of user"):
        runtime.runtime_dir()


def test_a_directory_of_somebody_else_is_refused(tmp_path, monkeypatch, ordinary_user):
    monkeypatch.setenv("IOMAPD_RUNTIME_DIR", str(tmp_path))
    if tmp_path.stat().st_uid == 4711:
        pytest.skip("the tests run as the user they pretend to be")
    with pytest.raises(MountError, match="directory of user 4711"):
        runtime.runtime_dir()


def test_a_session_directory_is_preferred_to_tmp(tmp_path, monkeypatch, ordinary_user):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert runtime.socket_of_mount(entry(uid=4711)) == tmp_path / "iomapd" / "0-57.sock"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert runtime.socket_of_mount(entry(uid=4711)) == Path("/tmp/iomapd-4711/0-57.sock")


def test_a_mount_of_another_user_is_looked_for_where_that_user_keeps_it(
    tmp_path, monkeypatch, ordinary_user
):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert runtime.socket_of_mount(entry(uid=0)) == Path("/run/iomapd/0-57.sock")
    assert runtime.socket_of_mount(entry(uid=1234)) == Path("/tmp/iomapd-1234/0-57.sock")
