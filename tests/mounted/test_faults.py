# SPDX-License-Identifier: MIT
"""Members that fail under the mount: an error for what is concerned, nothing for the rest."""

import contextlib
import errno
import os
import subprocess

import pytest

from tests.mounted import plumbing, syscalls, tagged
from tests.mounted.harness import ON_HOST, is_root

pytestmark = pytest.mark.skipif(ON_HOST, reason="the host's disk is left whole")
BLOCK, MIB = tagged.BLOCK, 1 << 20


def direct(path, flags=os.O_RDONLY):
    return os.open(path, flags | os.O_DIRECT)


def test_a_member_that_shrank_gives_eio_not_zeros(make_volume):
    """Each file lies on one member, so that it is known which are concerned."""
    volume = make_volume(members=2, sizes=("32MiB",))
    volume.expect_log("member|inode|EIO|Input/output|ends here|failed")
    paths = {}
    for number in range(24):
        path = volume.mnt / f"f{number}"
        path.write_bytes(tagged.content(number, BLOCK))
        paths[path] = volume.map(path)["extents"][0]["member"]
    assert set(paths.values()) == {0, 1}
    volume.is_whole = False
    os.truncate(volume.backing[1], 2 * MIB)
    for path, member in paths.items():
        fd = direct(path)
        if member == 0:
            tagged.check(syscalls.direct_read(fd, BLOCK, 0), int(path.name[1:]))
        else:
            with pytest.raises(OSError) as caught:
                syscalls.direct_read(fd, BLOCK, 0)
            assert caught.value.errno == errno.EIO
        os.close(fd)
    assert volume.backing[1].stat().st_size == 2 * MIB, "a member file was made longer"


@pytest.fixture
def thin_volume(make_volume, tmp_path):
    """Loop devices whose backing files run out of space below: writes are taken, flushes fail."""
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12M", "none", small], check=True)
    devices = []
    try:
        for number in range(2):
            with (small / f"m{number}").open("wb") as file:
                file.truncate(64 * MIB)
            devices.append(plumbing.attach_loop(small / f"m{number}"))
        layout = tmp_path / "thin.toml"
        members = "".join(f'[[member]]\npath = "{device}"\n' for device in devices)
        layout.write_text(f'[volume]\nname = "thin"\nunit = "64KiB"\n{members}')
        volume = make_volume(members=1, mounted=False)
        volume.layout = layout
        volume.cli("create", layout)
        # With O_DIRECT it would be the write that fails: no page cache takes it first.
        yield volume.mount("io=buffered")
        if volume.is_mounted():
            volume.umount(check=False)
    finally:
        plumbing.detach_loops(small)
        subprocess.run(["umount", "-l", small], check=False)


def mend(small):
    """Give the backing files room again, and take the error that nobody has seen yet.

    Dirty pages of a block device are written at its last close; an error of these is
    told to the next who opens the device and flushes it.
    """
    subprocess.run(["mount", "-o", "remount,size=200M", small], check=True)
    for device in plumbing.loop_devices_under(small):
        fd = os.open(device, os.O_RDWR)
        with contextlib.suppress(OSError):
            os.fsync(fd)
        os.close(fd)


def write_and_sync(file, data):
    for pos in range(0, len(data), MIB):
        file.write(data[pos : pos + MIB])
    os.fsync(file.fileno())


@pytest.mark.skipif(not is_root(), reason="loop devices need root")
def test_a_failed_flush_is_told_and_not_forgotten(thin_volume):
    thin_volume.expect_log("flush failed|durab|Input/output|No space|EIO")
    kept = thin_volume.mnt / "kept"
    with kept.open("wb") as file:
        file.write(tagged.content(1, 64 * BLOCK))
        os.fsync(file.fileno())
    lost = (thin_volume.mnt / "lost").open("wb", buffering=0)
    with pytest.raises(OSError, match="Input/output error"):
        write_and_sync(lost, tagged.content(2, 40 * MIB))
    # The kernel has marked the pages clean: a second try must not succeed by that.
    another = (thin_volume.mnt / "another").open("wb", buffering=0)
    another.write(tagged.content(3, 300 * BLOCK))
    with pytest.raises(OSError, match="Input/output error"):
        os.fsync(another.fileno())
    assert any(member["status"] != "ok" for member in thin_volume.info()["members"])
    for file in (lost, another):
        with pytest.raises(OSError, match="Input/output error"):
            os.fsync(file.fileno())
        with contextlib.suppress(OSError):  # close(2) may tell it once more
            file.close()
    tagged.check(kept.read_bytes(), 1)
    thin_volume.umount()
    mend(thin_volume.base.parent / "small")
    thin_volume.mount("io=buffered")
    # What was promised before the fault is there; of the rest nothing is anybody else's.
    tagged.check(kept.read_bytes(), 1)
    for path in thin_volume.mnt.iterdir():
        number = {"kept": 1, "lost": 2, "another": 3}[path.name]
        tagged.check(path.read_bytes(), number, holes=True)
