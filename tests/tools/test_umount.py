# SPDX-License-Identifier: MIT
"""umount waits for the server, names who is in the way, and touches nothing that is not ours."""

import os
import subprocess
import sys

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


def test_a_busy_mount_names_its_users_and_the_way_out(process, tmp_path, monkeypatch):
    def unmount(mountpoint, *, lazy):
        raise MountError(f"{mountpoint}: target is busy")

    monkeypatch.setattr(umount, "unmount", unmount)
    entry = mount_entry(tmp_path)
    with pytest.raises(MountError, match=rf"in use by .*\({process.pid}\).*umount --lazy"):
        umount._detach(entry, lazy=False)


def test_the_wait_ends_with_the_server(process):
    pidfd = os.pidfd_open(process.pid)
    process.communicate(b"\n")
    umount._wait_end(pidfd, mount_entry(), timeout=60, progress=silently)
    os.close(pidfd)


@pytest.mark.slow
def test_a_server_that_goes_on_is_told_of_after_the_timeout(process):
    pidfd = os.pidfd_open(process.pid)
    told = []
    with pytest.raises(MountError, match="still commits after 0 s"):
        umount._wait_end(pidfd, mount_entry(), 0, lambda *words: told.append(words))
    os.close(pidfd)


def test_the_server_is_known_by_its_socket_even_if_it_never_answers(private_runtime_dir):
    entry = mount_entry()
    assert umount._open_server(entry) is None
    with fake_server(entry, {}):
        pidfd = umount._open_server(entry)
    assert pidfd is not None
    os.close(pidfd)
