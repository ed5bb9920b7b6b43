# SPDX-License-Identifier: MIT
"""Opening members: types, exclusion, and the same bytes under two names."""

import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from iomapd.errors import MemberBusyError, MemberError, MemberMissingError
from iomapd.volume import device as device_module
from iomapd.volume.device import open_device, refuse_inside
from iomapd.volume.in_use import users_of


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "m.img"
    path.touch()
    os.truncate(path, 4 << 20)
    return path


@pytest.fixture
def held(request):
    """A function that opens devices, which are closed at the end."""
    opened = []

    def hold(path, **options):
        opened.append(open_device(path, **{"read_only": False, **options}))
        return opened[-1]

    yield hold
    for device in opened:
        device.close()


def test_a_file_is_described(image, held):
    device = held(image)
    assert (device.kind, device.size, device.logical_sector) == ("file", 4 << 20, 512)
    device.close()
    device.close()
    assert device.fd == -1


def make_directory(path):
    path.mkdir()


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.mark.parametrize(
    ("make", "what"),
    [(make_directory, "a directory"), (os.mkfifo, "a fifo"), (make_socket, "a socket"),
     (lambda path: path.symlink_to("/dev/null"), "a character device")],
)  # fmt: skip
def test_other_types_are_refused_by_name(tmp_path, make, what, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(Path("thing"))
    with pytest.raises(MemberError, match=f"thing: is {what}; a member is"):
        open_device(Path("thing"), read_only=False)


@pytest.mark.parametrize("name", ["absent", "file/below", "dangling"])
def test_what_is_not_there_is_missing(tmp_path, name):
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("absent")
    with pytest.raises(MemberMissingError, match="no such file or device"):
        open_device(tmp_path / name, read_only=False)


def test_a_loop_of_links_is_refused(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(MemberError, match="cannot be opened"):
        open_device(tmp_path / "a", read_only=False)


def test_a_link_is_followed_once_and_then_pinned(tmp_path, image, held, monkeypatch):
    """The name changes after it was looked at: what was looked at is opened."""
    other = tmp_path / "other.img"
    other.write_bytes(b"x" * 8192)
    real_check = device_module._check_type

    def swap(path, found):
        real_check(path, found)
        other.rename(image)

    monkeypatch.setattr(device_module, "_check_type", swap)
    assert held(image).size == 4 << 20


def test_a_second_writer_is_told_who_holds_the_file(image, held):
    held(image)
    with pytest.raises(MemberBusyError, match=rf"is in use: locked by process {os.getpid()} \("):
        open_device(image, read_only=False)
    with pytest.raises(MemberBusyError):
        open_device(image, read_only=True)


def test_readers_share_a_file(image, held):
    held(image, read_only=True)
    held(image, read_only=True)
    with pytest.raises(MemberBusyError):
        open_device(image, read_only=False)


def test_the_next_holder_waits_for_the_one_that_is_finishing(image, held, monkeypatch):
    first = held(image)
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            first.close()

    monkeypatch.setattr(device_module.time, "sleep", pause)
    assert held(image, deadline=time.monotonic() + 60).fd >= 0
    assert len(pauses) == 3


def test_refusals_leave_nothing_open(image, held):
    held(image)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(MemberBusyError):
            open_device(image, read_only=False)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("how", ["path", "symlink", "hard link", "dots"])
def test_the_same_file_under_another_name_is_the_same_member(tmp_path, image, held, how):
    other = tmp_path / "other.img"
    if how == "symlink":
        other.symlink_to(image)
    elif how == "hard link":
        other.hardlink_to(image)
    else:
        other = image if how == "path" else tmp_path / ".." / tmp_path.name / "m.img"
    first = held(image)
    with pytest.raises(MemberError, match=r"is .*m\.img once more; a volume has each member once"):
        open_device(other, read_only=False, others=[first])


@pytest.mark.parametrize("depth", [0, 2])
def test_a_member_inside_the_mountpoint_is_refused(tmp_path, depth):
    mountpoint = tmp_path / "mnt"
    inner = mountpoint.joinpath(*["d"] * depth)
    inner.mkdir(parents=True)
    (inner / "m.img").touch()
    by_link = tmp_path / "link"
    by_link.symlink_to(inner / "m.img")
    for path in (inner / "m.img", by_link):
        with pytest.raises(MemberError, match="lies inside the mountpoint"):
            refuse_inside(path, mountpoint)
    refuse_inside(tmp_path / "mnt.img", mountpoint)


def test_an_unreadable_file_is_refused_with_the_reason(image, monkeypatch):
    def refuse(path, flags):
        raise PermissionError(13, "Permission denied")

    real_open = os.open
    monkeypatch.setattr(
        device_module.os, "open",
        lambda path, flags: (refuse if "/proc/" in str(path) else real_open)(path, flags),
    )  # fmt: skip
    with pytest.raises(MemberError, match="Permission denied; a member must be readable and wri"):
        open_device(image, read_only=False)


# -- real block devices


@pytest.mark.slow
def test_a_loop_device_is_described(image, attach, held):
    loop = attach(image, "--sector-size", "4096")
    device = held(loop)
    assert (device.kind, device.size, device.logical_sector) == ("block", 4 << 20, 4096)
    assert device.resting.key[0] == "file"


@pytest.mark.slow
def test_larger_logical_sectors_are_refused(image, attach):
    try:
        loop = attach(image, "--sector-size", "8192")
    except subprocess.CalledProcessError:
        pytest.skip("this kernel's loop devices have sectors of 4096 bytes at most (before 6.15)")
    with pytest.raises(MemberError, match=f"{loop}: logical sectors of 8192 bytes; .* 4096"):
        open_device(loop, read_only=False)


@pytest.mark.slow
def test_a_loop_device_over_a_member_is_the_same_member(image, attach, held):
    loop = attach(image)
    again = attach(image)
    for first, second in ((image, loop), (loop, image), (loop, again)):
        device = held(first)
        with pytest.raises(MemberError, match=f"{second}: is {first} once more"):
            open_device(second, read_only=False, others=[device])
        device.close()


@pytest.mark.slow
def test_loop_devices_over_two_halves_of_a_file_are_two_members(image, attach, held):
    first = held(attach(image, "--sizelimit", str(2 << 20)))
    second = attach(image, "--offset", str(2 << 20))
    assert held(second, others=[first]).size == 2 << 20
    overlapping = attach(image, "--offset", str(1 << 20))
    with pytest.raises(MemberError, match="once more"):
        open_device(overlapping, read_only=False, others=[first])


@pytest.mark.slow
def test_a_block_device_has_one_holder(image, attach, held):
    loop = attach(image)
    held(loop)
    with pytest.raises(MemberBusyError, match=f"{loop}: is in use: held exclusively"):
        open_device(loop, read_only=False)


@pytest.mark.slow
def test_a_mounted_device_says_where_it_is_mounted(tmp_path, image, attach):
    subprocess.run(["mkfs.ext4", "-q", image], check=True, timeout=60)
    mountpoint = tmp_path / "a mount"
    mountpoint.mkdir()
    loop = attach(image)
    subprocess.run(["mount", loop, mountpoint], check=True, timeout=60)
    try:
        with pytest.raises(MemberBusyError, match=f"{loop}: is in use: mounted at {mountpoint}"):
            open_device(loop, read_only=False)
    finally:
        subprocess.run(["umount", mountpoint], check=True, timeout=60)
    assert users_of(image.stat()) == [f"attached to {loop}"]


@pytest.mark.slow
def test_memory_is_told_from_disks(image, attach, held):
    assert Path("/dev/shm").is_dir()
    in_memory = Path(f"/dev/shm/iomapd-test-{os.getpid()}.img")
    in_memory.touch()
    try:
        os.truncate(in_memory, 4 << 20)
        assert held(in_memory).resting.in_memory
        assert held(attach(in_memory)).resting.in_memory
        assert held(image).resting.in_memory == held(attach(image)).resting.in_memory
    finally:
        in_memory.unlink()
