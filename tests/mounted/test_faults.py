# SPDX-License-Identifier: MIT
"""Members that fail under the mount: an error for what is concerned, nothing for the rest."""

import contextlib
import errno
import json
import os
import random
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.mounted import plumbing, syscalls, tagged
from tests.mounted.harness import ON_HOST, is_root

pytestmark = pytest.mark.skipif(ON_HOST, reason="the host's disk is left whole")
BLOCK, MIB = tagged.BLOCK, 1 << 20


def direct(path, flags=os.O_RDONLY):
    return os.open(path, flags | os.O_DIRECT)


@pytest.mark.parametrize("mode", ["auto", "direct", "mapped"])
def test_a_member_that_shrank_gives_eio_not_zeros(make_volume, mode):
    """Each file lies on one member, so that it is known which are concerned."""
    volume = make_volume(members=2, sizes=("32MiB",), options=(f"io={mode}",))
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


class Busy:
    """Reads and writes files of single members in lanes, until told to end; errors must be EIO.

    Only *written* members are written to, and none while `shrinking` is held: a write makes an
    image file as long as it was, and then nobody can tell that bytes are missing.  Of a loop device
    that holds until the device knows how short its file has become.
    """

    def __init__(self, files, written):
        self.files, self.written = files, written
        self.over, self.shrinking = threading.Event(), threading.Lock()
        self.hurt, self.done = set(), 0

    def run(self, seed):
        try:
            self.work(random.Random(seed))
        finally:
            self.over.set()

    def work(self, rng):
        while not self.over.is_set():
            path, (number, member, _) = rng.choice(list(self.files.items()))
            try:
                fd = direct(path, os.O_RDWR)
                try:
                    if member in self.written and rng.random() < 0.5:
                        with self.shrinking:
                            syscalls.direct_write(fd, tagged.content(number, BLOCK), 0)
                    tagged.check(syscalls.direct_read(fd, BLOCK, 0), number)
                finally:
                    os.close(fd)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                self.hurt.add(member)
            self.done += 1


@pytest.mark.parametrize("place", ["memory", "loop"])
def test_a_member_that_goes_while_lanes_work_on_it_hurts_its_own_files_alone(make_volume, place):
    if place == "loop" and not is_root():
        pytest.skip("loop devices need root")
    volume = make_volume(members=2, sizes=("32MiB",), **{place: True})
    volume.expect_log("member|inode|EIO|Input/output|ends here|failed|No space")
    files = files_by_member(volume, 16)
    os.sync()
    busy = Busy(files, {0, 1} if place == "loop" else {0})
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(busy.run, seed) for seed in range(4)]
        busy_until(busy, busy.done + 200)
        volume.is_whole = False
        with busy.shrinking:
            os.truncate(volume.backing[1], 2 * MIB)
            if place == "loop":
                subprocess.run(["losetup", "-c", volume.members[1]], check=True)
        busy_until(busy, busy.done + 400)
        busy.over.set()
        for job in jobs:
            job.result()
    assert busy.hurt == {1}
    for path, (number, member, _) in files.items():
        if member == 0:
            tagged.check(read_direct(path), number)
    volume.umount(check=False)
    assert not volume.is_mounted()


def busy_until(busy, count):
    """Wait until so much was tried; who waits here gives the others the processor."""
    while busy.done < count and not busy.over.is_set():
        os.sched_yield()


def files_by_member(volume, count):
    """Small files, each on one member: path -> (number of its content, member index, address)."""
    found = {}
    for number in range(count):
        path = volume.mnt / f"f{number}"
        path.write_bytes(tagged.content(number, BLOCK))
        (piece,) = volume.map(path)["extents"]
        found[path] = (number, piece["member"], piece["address"])
    assert {member for _, member, _ in found.values()} == set(range(len(volume.members)))
    return found


def read_direct(path):
    fd = direct(path)
    try:
        return syscalls.direct_read(fd, BLOCK, 0)
    finally:
        os.close(fd)


def member_counters(volume):
    return json.loads(volume.cli("stats", "--json", volume.mnt).stdout)["members"]


@pytest.mark.skipif(not is_root(), reason="loop devices need root")
@pytest.mark.parametrize("shrunk", ["backing file", "device"])
def test_a_loop_device_that_lost_its_end_costs_only_what_lay_there(make_volume, shrunk):
    """The log and the counters name member and address; other files and the unmount go on."""
    volume = make_volume(members=2, sizes=("32MiB",), loop=True)
    volume.expect_log("member|inode|EIO|Input/output|ends here|failed|No space")
    files = files_by_member(volume, 16)
    low = volume.mnt / "low"  # wide, hence at the bottom of the members, and still there
    low.write_bytes(tagged.content(99, MIB))
    os.sync()
    volume.map(low)
    volume.is_whole = False
    os.truncate(volume.backing[1], 8 * MIB)
    if shrunk == "device":
        subprocess.run(["losetup", "-c", volume.members[1]], check=True)
    path_of_member = str(volume.members[1])
    fd = os.open(path_of_member, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)
    for path, (number, member, _) in files.items():
        if member == 0:
            tagged.check(read_direct(path), number)
            continue
        with pytest.raises(OSError) as caught:
            read_direct(path)
        assert caught.value.errno == errno.EIO
    tagged.check(low.read_bytes(), 99)
    addresses = {address for _, member, address in files.values() if member == 1}
    told = member_counters(volume)[1]
    assert told["path"] == path_of_member
    assert told["errors"] >= len(addresses)
    assert any(f"read at {address}: " in told["last_error"] for address in addresses)
    log = volume.log.read_text()
    assert all(f"member {path_of_member}: read at {address}: " in log for address in addresses)
    assert member_counters(volume)[0]["errors"] == 0
    (volume.mnt / "f0").unlink()
    volume.umount(check=False)
    assert not volume.is_mounted()


@pytest.mark.skipif(not is_root(), reason="loop devices need root")
def test_a_loop_device_detached_while_mounted_stays_until_the_unmount(make_volume):
    """losetup -d of a device in use takes effect at its last close: ours."""
    volume = make_volume(members=2, sizes=("32MiB",), loop=True)
    files = files_by_member(volume, 8)
    for device in volume.members:
        subprocess.run(["losetup", "-d", device], check=True)
    for path, (number, _, _) in files.items():
        tagged.check(read_direct(path), number)
    with (volume.mnt / "more").open("wb") as file:
        file.write(tagged.content(77, MIB))
        os.fsync(file.fileno())
    volume.umount()
    volume.is_whole = False  # there is nothing left that fsck could look at
    assert plumbing.loop_devices_under(volume.base) == {}
    # The bytes are in the backing files: the members can be had again.
    devices = [plumbing.attach_loop(backing) for backing in volume.backing]
    text = volume.layout.read_text()
    for old, new in zip(volume.members, devices, strict=True):
        text = text.replace(f'"{old}"', f'"{new}+"')
    volume.layout.write_text(text.replace('+"', '"'))
    volume.mount()
    tagged.check((volume.mnt / "more").read_bytes(), 77)


def write_until_it_fails(file):
    for pos in range(0, 40 * MIB, MIB):
        file.write(tagged.content(2, MIB, pos))


@pytest.mark.skipif(not is_root(), reason="a file system of its own needs root")
def test_sparse_images_on_a_full_host_give_enospc_and_harm_nobody(make_volume, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12M", "none", small], check=True)
    try:
        volume = make_volume(members=1, mounted=False)
        volume.expect_log("No space|inode|write")
        volume.layout = small / "v.toml"
        members = "".join(
            f'[[member]]\npath = "m{i}.img"\nsize = "64MiB"\nsparse = true\n' for i in range(2)
        )
        store = f'metadata = "{volume.store}.full"'
        volume.layout.write_text(f'[volume]\nname = "full"\nunit = "64KiB"\n{store}\n{members}')
        volume.cli("create", volume.layout)
        volume.mount()
        kept = volume.mnt / "kept"
        kept.write_bytes(tagged.content(1, 64 * BLOCK))
        with (volume.mnt / "large").open("wb", buffering=0) as file:
            with pytest.raises(OSError) as caught:
                write_until_it_fails(file)
            assert caught.value.errno == errno.ENOSPC
            os.fsync(file.fileno())  # what was acknowledged is there
            size = os.fstat(file.fileno()).st_size
        assert size >= 4 * MIB
        tagged.check(kept.read_bytes(), 1)
        tagged.check((volume.mnt / "large").read_bytes(), 2)
        assert sum(member["errors"] for member in member_counters(volume)) >= 1
        subprocess.run(["mount", "-o", "remount,size=60M", small], check=True)
        (volume.mnt / "after").write_bytes(tagged.content(3, MIB))
        volume.remount()
        tagged.check((volume.mnt / "large").read_bytes(), 2)
        tagged.check((volume.mnt / "after").read_bytes(), 3)
        volume.umount()
        assert volume.fsck() == []
    finally:
        if volume.is_mounted():
            volume.umount(check=False)
        subprocess.run(["umount", "-l", small], check=False)


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
        # close(2) tells it too, once per open file however many descriptors it has.
        twin = os.dup(file.fileno())
        with pytest.raises(OSError, match="Input/output error"):
            file.close()
        os.close(twin)
    tagged.check(kept.read_bytes(), 1)
    thin_volume.umount()
    mend(thin_volume.base.parent / "small")
    thin_volume.mount("io=buffered")
    # What was promised before the fault is there; of the rest nothing is anybody else's.
    tagged.check(kept.read_bytes(), 1)
    for path in thin_volume.mnt.iterdir():
        number = {"kept": 1, "lost": 2, "another": 3}[path.name]
        tagged.check(path.read_bytes(), number, holes=True)
