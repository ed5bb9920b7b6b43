# SPDX-License-Identifier: MIT
"""Mount options, and the ways to name a volume and to end its mount."""

import os
import signal
import subprocess
import sys

import pytest

from tests.mounted import plumbing, tagged
from tests.mounted.harness import ON_HOST, is_root, run_program

pytestmark = pytest.mark.skipif(ON_HOST, reason="a plain directory is not mounted")


@pytest.fixture(scope="module")
def filled_volume(shared_volume):
    """One volume with a file, for the whole file."""
    (shared_volume.mnt / "file").write_bytes(tagged.content(1, 20 * tagged.BLOCK))
    return shared_volume


@pytest.fixture
def volume(filled_volume):
    """The volume, not mounted: each test does it in its own way."""
    if filled_volume.is_mounted():
        filled_volume.umount()
    return filled_volume


def entry(volume):
    (found,) = plumbing.fuse_mounts_under(volume.mnt)
    return found


@pytest.mark.parametrize(("options", "fstype", "source"), [
    ((), "fuse.iomapd", "test"),
    (("fsname=scratch",), "fuse.iomapd", "scratch"),
    (("subtype=stripes",), "fuse.stripes", "test"),
    (("subtype=",), "fuse", "test"),
    (("subtype=", "fsname=x"), "fuse", "x"),
])  # fmt: skip
def test_fsname_and_subtype_are_honoured(options, fstype, source, volume):
    volume.mount(*options)
    assert (entry(volume).fstype, entry(volume).source) == (fstype, source)
    tagged.check((volume.mnt / "file").read_bytes(), 1)


def test_generic_mount_options_are_swallowed(volume):
    volume.mount("rw", "defaults", "nofail", "_netdev", "x-systemd.automount", "user", "noauto")
    tagged.check((volume.mnt / "file").read_bytes(), 1)


@pytest.mark.parametrize("flag", ["nosuid", "nodev", "noexec", "noatime"])
def test_kernel_flags_reach_the_mount(flag, volume):
    volume.mount(flag)
    assert flag in entry(volume).options.split(",")


def test_default_permissions_are_always_on(volume):
    volume.mount()
    assert "default_permissions" in entry(volume).options.split(",")


@pytest.mark.skipif(is_root(), reason="root's mounts keep suid and dev, as mount(8) does")
def test_a_users_mount_has_neither_suid_nor_devices(volume):
    volume.mount()
    assert {"nosuid", "nodev"} <= set(entry(volume).options.split(","))


def test_noatime_records_no_reading_and_relatime_once(volume):
    path = volume.mnt / "file"

    def read_at(old):
        os.utime(path, ns=(old, path.stat().st_mtime_ns))
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            file.read()
        volume.remount()
        return path.stat().st_atime_ns

    volume.mount("noatime")
    assert read_at(10**18) == 10**18
    volume.umount()
    volume.mount("")
    assert read_at(10**18) > 10**18


def test_a_volume_is_mounted_by_any_of_its_members(volume):
    for member in volume.members[:2]:
        volume.cli("mount", member, volume.mnt, "--log", volume.log)
        tagged.check((volume.mnt / "file").read_bytes(), 1)
        volume.umount()


def test_umount_8_and_fusermount_end_the_server_too(volume):
    volume.mount()
    commands = [["fusermount3", "-u", volume.mnt]] + ([["umount", volume.mnt]] * is_root())
    for command in commands:
        (volume.mnt / "late").write_bytes(tagged.content(2, 300 * tagged.BLOCK))
        pid = volume.server_pid()
        subprocess.run(command, check=True, timeout=30)
        assert plumbing.wait_for_exit(pid, 30)
        volume.mount()
        tagged.check((volume.mnt / "late").read_bytes(), 2)


def test_the_real_program_mounts_in_the_foreground_and_ends_with_its_mount(volume):
    command = [sys.executable, "-m", "iomapd", "mount", "--foreground", volume.layout, volume.mnt]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert plumbing.wait_for_mounts(volume.is_mounted, 30)
        tagged.check((volume.mnt / "file").read_bytes(), 1)
        done = run_program("umount", volume.mnt, cwd=volume.base)
        assert (done.returncode, done.stderr) == (0, "")
        _, words = program.communicate(timeout=30)
    assert program.returncode == 0, words
    assert b"Traceback" not in words


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_mount_in_the_foreground_that_is_told_to_end_unmounts(volume, number, status):
    """A service manager ends it by SIGTERM and takes anything but 0 for a failure."""
    command = [sys.executable, "-m", "iomapd", "mount", "--foreground", volume.layout, volume.mnt]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert plumbing.wait_for_mounts(volume.is_mounted, 30)
        program.send_signal(number)
        _, words = program.communicate(timeout=30)
    assert program.returncode == status, words
    assert b"Traceback" not in words
    assert plumbing.wait_for_mounts(lambda: not volume.is_mounted(), 30)


def test_info_knows_the_mount(volume):
    volume.mount()
    info = volume.info()
    assert info["pid"] == volume.server_pid()
    assert info["mountpoint"] == str(volume.mnt)
    assert [member["path"] for member in info["members"]] == [str(path) for path in volume.members]
    assert info["connection"] == entry(volume).connection


@pytest.mark.parametrize(
    "name", ["with blank", "tab\tand\nnewline", "back\\slash", "ünïcode", "a,b=c"]
)
def test_a_mountpoint_may_have_any_name(name, volume):
    usual, volume.mnt = volume.mnt, volume.base / name
    volume.mnt.mkdir()
    try:
        volume.mount()
        tagged.check((volume.mnt / "file").read_bytes(), 1)
        assert volume.info()["mountpoint"] == str(volume.mnt)
        tagged.check(volume.mapped_bytes(volume.mnt / "file"), 1)
        volume.umount()
    finally:
        volume.mnt = usual


def test_a_mountpoint_may_be_relative_or_a_link(volume):
    (volume.base / "link").symlink_to("mnt")
    for spelling in ("mnt", "./mnt/", "../v0/mnt", "link"):
        done = run_program("mount", volume.layout.name, spelling, cwd=volume.base)
        assert done.returncode == 0, done.stderr
        tagged.check((volume.mnt / "file").read_bytes(), 1)
        done = run_program("umount", spelling, cwd=volume.base)
        assert done.returncode == 0, done.stderr
        assert not volume.is_mounted()
    (volume.base / "link").unlink()
