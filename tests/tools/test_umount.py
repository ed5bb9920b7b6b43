# SPDX-License-Identifier: MIT
"""umount waits for the server, names who is in the way, and touches nothing that is not ours."""

import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from iomapd.errors import MountError
from iomapd.tools import umount
from iomapd.tools.umount import unmount_volume, users_of
from tests.tools.fake_server import fake_server, mount_entry


@pytest.fixture
def process(tmp_path):
    """A process that works in a directory and ends when told."""
    child = subprocess.Popen(
        [sys.executable, "-c", "input()"],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    yield child
    child.kill()
    child.communicate()


def silently(*told):
    pass


def arguments(**changes):
    return {"lazy": False, "force": False, "timeout": 5, "progress": silently, **changes}


def test_nothing_mounted_is_said(tmp_path):
    with pytest.raises(MountError, match="nothing is mounted there"):
        unmount_volume(tmp_path, **arguments())


def test_a_mount_of_another_kind_is_left_alone(private_runtime_dir):
    with pytest.raises(MountError, match="/proc: is proc, not an iomapd volume"):
        unmount_volume(umount.Path("/proc"), **arguments(force=True))


def test_who_works_in_a_mount_is_named(process, tmp_path):
    assert f"({process.pid})" in " ".join(users_of(mount_entry(tmp_path)))
    assert users_of(mount_entry(tmp_path / "elsewhere")) == []


def test_who_unmounts_from_inside_is_not_told_to_end_the_command_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert users_of(mount_entry(tmp_path)) == []


def test_a_mount_of_another_user_is_said_to_be_that(monkeypatch):
    others = replace(mount_entry("/mnt/x"), super_options=("rw", "user_id=0"))
    monkeypatch.setattr(umount, "require_mount", lambda mountpoint: others)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(MountError, match="is served by user 0, who alone may unmount it"):
        unmount_volume(umount.Path("/mnt/x"), **arguments())


def test_a_busy_mount_names_its_users_and_the_way_out(process, tmp_path, monkeypatch):
    def unmount(mountpoint, *, lazy):
        raise MountError(f"{mountpoint}: target is busy")

    monkeypatch.setattr(umount, "unmount", unmount)
    entry = mount_entry(tmp_path)
    with pytest.raises(MountError, match=rf"in use by .*\({process.pid}\).*umount --lazy"):
        umount._detach(entry, lazy=False)


@pytest.fixture
def pidfd(process):
    fd = os.pidfd_open(process.pid)
    yield fd
    os.close(fd)


def test_the_wait_ends_with_the_server(process, pidfd):
    process.communicate(b"\n")
    assert umount._has_ended(pidfd, 60, silently)


@pytest.mark.slow
def test_a_server_that_goes_on_is_told_of_and_left_alone(process, pidfd):
    assert not umount._has_ended(pidfd, 0, silently)
    with pytest.raises(MountError, match="still commits after 0 s"):
        umount._give_up(pidfd, mount_entry(), 0, force=False)
    assert process.poll() is None


def test_a_server_that_goes_on_is_killed_by_force(process, pidfd):
    umount._give_up(pidfd, mount_entry(), 0, force=True)
    assert process.wait() == -signal.SIGKILL


def test_the_server_is_known_by_its_socket_even_if_it_never_answers(private_runtime_dir):
    entry = mount_entry()
    assert umount._open_server(entry) is None
    with fake_server(entry, {}):
        pidfd = umount._open_server(entry)
    assert pidfd is not None
    os.close(pidfd)
