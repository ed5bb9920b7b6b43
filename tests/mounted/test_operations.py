# SPDX-License-Identifier: MIT
"""fallocate, holes, SEEK_DATA, copy_file_range, O_TMPFILE, statx: as on the host."""

import contextlib
import errno
import mmap
import os
import random
import stat
import subprocess
import threading
import time

import pytest

from tests.mounted import syscalls, tagged
from tests.mounted.harness import CACHE, ON_HOST, is_root, soak

MIB = 1 << 20
VOLUME = {"members": 4, "sizes": ("48MiB",)}
CACHES = ("through", "kernel")


def refused(number):
    return pytest.raises(OSError, check=lambda error: error.errno == number)


def used(path):
    status = os.statvfs(path)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


@pytest.fixture
def sparse(opened, shared_volume):
    """As `opened`, where the kernel asks the server what are holes."""
    if CACHE == "kernel" or "cache=kernel" in shared_volume.mount_options:
        pytest.skip("all of a file is data where the kernel writes back")
    return opened


@pytest.fixture
def opened(workdir):
    fd = os.open(workdir / "file", os.O_CREAT | os.O_RDWR, 0o644)
    yield workdir / "file", fd
    os.close(fd)


# -- fallocate


def test_preallocated_space_is_there_and_reads_as_zeros(opened, shared_volume):
    path, fd = opened
    os.posix_fallocate(fd, 0, 5 * MIB + 7)
    assert os.fstat(fd).st_size == 5 * MIB + 7
    assert syscalls.allocated(path) >= 5 * MIB + 7
    assert not any(path.read_bytes())
    os.pwrite(fd, b"x" * 10_000, 3 * MIB)
    wanted = bytes(3 * MIB) + b"x" * 10_000 + bytes(2 * MIB + 7 - 10_000)
    assert path.read_bytes() == wanted
    assert path.read_bytes() == wanted


def test_preallocation_beyond_eof_leaves_the_size_and_goes_with_a_truncate(opened):
    path, fd = opened
    os.write(fd, b"kept")
    os.fsync(fd)  # with cache=kernel the server knows no size before that
    syscalls.fallocate(fd, syscalls.FALLOC_KEEP_SIZE, 0, 3 * MIB)
    assert os.fstat(fd).st_size == 4
    assert syscalls.allocated(path) >= 3 * MIB
    os.truncate(path, 4)
    assert syscalls.allocated(path) <= 4096
    assert path.read_bytes() == b"kept"


def test_preallocation_keeps_its_promise_on_a_full_volume(make_volume):
    volume = make_volume(members=2, sizes=("6MiB",))
    if ON_HOST:
        pytest.skip("the host's disk is not to be filled")
    fd = os.open(volume.mnt / "kept", os.O_CREAT | os.O_RDWR, 0o644)
    syscalls.fallocate(fd, syscalls.FALLOC_KEEP_SIZE, 0, 4 * MIB)
    # O_DIRECT, since with cache=kernel only close and fsync are told that a volume is full.
    greedy = os.open(volume.mnt / "greedy", os.O_CREAT | os.O_WRONLY | os.O_DIRECT)
    with refused(errno.ENOSPC):
        for _ in range(64):
            os.write(greedy, syscalls.aligned(b"g" * MIB))
    with refused(errno.ENOSPC):
        os.posix_fallocate(greedy, 0, 64 * MIB)
    os.close(greedy)
    assert os.write(fd, tagged.content(1, 4 * MIB)) == 4 * MIB
    os.close(fd)
    volume.remount()
    tagged.check((volume.mnt / "kept").read_bytes(), 1)


def test_a_hole_gives_space_back_and_reads_as_zeros(opened):
    path, fd = opened
    data = bytearray(tagged.content(1, 8 * MIB))
    os.write(fd, data)
    os.fsync(fd)
    before = syscalls.allocated(path)
    for pos, length in ((2 * MIB, MIB), (5 * MIB, 2 * MIB), (100_001, 3), (MIB - 5, 10)):
        syscalls.punch(fd, pos, length)
        data[pos : pos + length] = bytes(length)
        assert path.read_bytes() == data
    assert syscalls.allocated(path) <= before - 3 * MIB
    assert os.fstat(fd).st_size == len(data)
    syscalls.punch(fd, 7 * MIB, 1 << 40)
    data[7 * MIB :] = bytes(MIB)
    assert path.read_bytes() == data


def test_a_zeroed_range_keeps_its_space(opened):
    path, fd = opened
    os.write(fd, b"\xff" * MIB)
    before = syscalls.allocated(path)
    syscalls.fallocate(fd, syscalls.FALLOC_ZERO_RANGE, 5000, MIB)
    assert path.read_bytes() == b"\xff" * 5000 + bytes(MIB)
    assert syscalls.allocated(path) >= before


def test_space_is_given_back_with_the_file(make_volume):
    volume = make_volume(members=3, sizes=("24MiB",))
    if ON_HOST:
        pytest.skip("the host's file system has other users")
    empty = used(volume.mnt)
    path = volume.mnt / "file"
    with path.open("wb") as file:
        syscalls.fallocate(file.fileno(), syscalls.FALLOC_KEEP_SIZE, 0, 20 * MIB)
        assert used(volume.mnt) - empty == syscalls.allocated(path) == 20 * MIB
        syscalls.punch(file.fileno(), 3 * MIB, 10 * MIB)
        assert used(volume.mnt) - empty == syscalls.allocated(path)
    path.unlink()
    volume.remount()  # the kernel forgets an inode when it likes
    assert used(volume.mnt) == empty


def test_holes_and_reservations_survive_a_killed_server(make_volume):
    volume = make_volume()
    path = volume.mnt / "file"
    data = bytearray(tagged.content(1, 4 * MIB))
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        syscalls.punch(file.fileno(), MIB, MIB)
        syscalls.fallocate(file.fileno(), 0, 4 * MIB, MIB)
    data[MIB : 2 * MIB] = bytes(MIB)
    volume.crash_and_mount()
    assert path.read_bytes() == data + bytes(MIB)


@pytest.mark.skipif(not is_root(), reason="becomes another user")
def test_a_change_of_content_by_others_clears_suid(make_volume):
    volume = make_volume(members=2, sizes=("24MiB",), options=("allow_other",))
    path = volume.mnt / "file"
    path.write_bytes(b"x" * 10_000)
    fd = os.open(path, os.O_RDWR)
    for change in (
        lambda: syscalls.fallocate(fd, 0, 0, 20_000),
        lambda: syscalls.punch(fd, 0, 4096),
        lambda: os.copy_file_range(fd, fd, 100, 0, 5000),
    ):
        os.chmod(path, 0o4755)
        change()
        assert os.stat(path).st_mode & stat.S_ISUID, "root keeps it"
        assert as_nobody(change)
        assert os.stat(path).st_mode & stat.S_ISUID == 0
    os.close(fd)


def as_nobody(step):
    """Do *step* in a child that is another user; tell whether it went well."""
    pid = os.fork()
    if not pid:
        try:
            os.setresuid(65534, 65534, 65534)
            step()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


# -- holes found


def test_data_and_holes_are_found(sparse):
    path, fd = sparse
    os.pwrite(fd, b"x" * MIB, MIB)
    os.pwrite(fd, b"x", 4 * MIB)
    os.truncate(path, 6 * MIB)
    assert os.lseek(fd, 0, os.SEEK_DATA) == MIB
    assert os.lseek(fd, MIB, os.SEEK_HOLE) == 2 * MIB
    assert os.lseek(fd, 2 * MIB, os.SEEK_DATA) == 4 * MIB
    assert os.lseek(fd, 4 * MIB, os.SEEK_HOLE) == 4 * MIB + 4096
    with refused(errno.ENXIO):
        os.lseek(fd, 5 * MIB, os.SEEK_DATA)
    with refused(errno.ENXIO):
        os.lseek(fd, 6 * MIB, os.SEEK_HOLE)
    assert os.lseek(fd, 5 * MIB, os.SEEK_HOLE) == 5 * MIB


def test_what_is_only_in_a_mapping_is_data(sparse):
    path, fd = sparse
    os.truncate(path, 4 * MIB)
    with mmap.mmap(fd, 4 * MIB) as mapped:
        assert mapped[3 * MIB] == 0
        mapped[2 * MIB] = 1
        with path.open("rb") as reader:
            assert os.lseek(reader.fileno(), 0, os.SEEK_DATA) <= 2 * MIB
            assert os.lseek(reader.fileno(), 2 * MIB, os.SEEK_HOLE) >= 2 * MIB + 1
        mapped[MIB] = 1
        assert os.lseek(fd, 0, os.SEEK_HOLE) <= MIB
        assert os.lseek(fd, 0, os.SEEK_DATA) <= MIB


def test_seeking_while_others_write_through_mappings_ends(opened):
    """What writes pages back for a seek waits for writes that the same server must answer."""
    path, fd = opened
    os.truncate(path, 8 * MIB)
    stop = threading.Event()

    def write():
        with mmap.mmap(fd, 8 * MIB) as mapped:
            at = 0
            while not stop.is_set():
                mapped[at % (8 * MIB)] = 1
                at += 12_345

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(60):
            os.lseek(fd, 0, os.SEEK_HOLE)
            os.lseek(fd, 0, os.SEEK_DATA)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_cp_copies_holes_as_holes(opened, workdir):
    path, fd = opened
    os.pwrite(fd, b"island" * 1000, 5 * MIB)
    os.truncate(path, 20 * MIB)
    subprocess.run(["cp", "--sparse=auto", path, workdir / "copy"], check=True, timeout=60)
    assert (workdir / "copy").read_bytes() == path.read_bytes()
    assert syscalls.allocated(workdir / "copy") <= MIB


# -- copies


def test_a_copy_inside_the_server(opened, workdir):
    _, fd = opened
    data = tagged.content(1, 3 * MIB + 5)
    os.write(fd, data)
    with (workdir / "copy").open("wb") as target:
        left = len(data)
        while left:
            done = os.copy_file_range(fd, target.fileno(), left, len(data) - left)
            assert done > 0
            left -= done
        assert os.copy_file_range(fd, target.fileno(), 10, len(data)) == 0
    assert (workdir / "copy").read_bytes() == data
    if not ON_HOST:
        with refused(errno.EINVAL):
            os.copy_file_range(fd, fd, 100, 0, 50)


def test_a_copy_takes_what_is_in_a_mapping_and_replaces_what_is_cached(opened, workdir):
    path, fd = opened
    os.truncate(path, MIB)
    target = os.open(workdir / "copy", os.O_CREAT | os.O_RDWR, 0o644)
    os.write(target, b"old" * 100_000)
    with mmap.mmap(fd, MIB) as mapped:
        mapped[70_000:70_005] = b"dirty"
        assert os.copy_file_range(fd, target, MIB, 0, 0) == MIB
    assert os.pread(target, MIB, 0) == bytes(70_000) + b"dirty" + bytes(MIB - 70_005)
    os.close(target)


# -- files without names


def test_a_nameless_file_gets_a_name(workdir):
    fd = os.open(workdir, os.O_TMPFILE | os.O_RDWR, 0o640)
    os.write(fd, b"content")
    assert os.fstat(fd).st_nlink == 0
    assert os.listdir(workdir) == []
    syscalls.give_name(fd, workdir / "named")
    assert os.fstat(fd).st_nlink == 1
    os.close(fd)
    assert (workdir / "named").read_bytes() == b"content"
    assert stat.S_IMODE((workdir / "named").stat().st_mode) == 0o640


def test_a_nameless_file_goes_with_its_last_close(make_volume):
    volume = make_volume(members=2, sizes=("24MiB",))
    before = used(volume.mnt)
    fd = os.open(volume.mnt, os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o600)
    os.write(fd, b"x" * 4 * MIB)
    with refused(errno.ENOENT):
        syscalls.give_name(fd, volume.mnt / "named")
    os.close(fd)
    volume.remount()
    if not ON_HOST:
        assert used(volume.mnt) == before


def test_a_nameless_file_is_gone_after_a_crash(make_volume):
    volume = make_volume(members=2, sizes=("24MiB",))
    if ON_HOST:
        pytest.skip("the host does not crash")
    before = used(volume.mnt)
    fd = os.open(volume.mnt, os.O_TMPFILE | os.O_RDWR, 0o600)
    os.write(fd, b"x" * MIB)
    os.fsync(fd)
    volume.kill9()
    with refused(errno.ENOTCONN):
        os.close(fd)
    volume.mount()
    assert os.listdir(volume.mnt) == []
    assert used(volume.mnt) == before


def test_a_nameless_file_belongs_where_it_is_made(workdir):
    if not is_root():
        pytest.skip("gives a directory to another group")
    os.chown(workdir, 0, 12_345)
    os.chmod(workdir, 0o2777)
    fd = os.open(workdir, os.O_TMPFILE | os.O_WRONLY, 0o600)
    assert os.fstat(fd).st_gid == 12_345
    os.close(fd)


# -- attributes


def test_the_time_of_birth_is_told_and_stays(workdir, shared_volume):
    path = workdir / "file"
    earlier = time.time_ns() - 10**9
    path.touch()
    born = syscalls.birth_time(path)
    assert earlier <= born <= time.time_ns()
    path.write_bytes(b"later")
    os.utime(path, (1, 1))
    assert syscalls.birth_time(path) == born
    assert syscalls.birth_time(workdir) <= born
    if not ON_HOST:
        requests = shared_volume.cli("stats", "--json", shared_volume.mnt).stdout
        assert '"statx"' in requests


def test_the_kernel_does_not_ask_again_for_what_there_is_not(opened, shared_volume):
    if ON_HOST:
        pytest.skip("the host has no server that could be asked")
    for fd in (opened[1],) * 3:
        with refused(errno.ENOTTY):
            os.tcgetpgrp(fd)
    assert os.isatty(opened[1]) is False


# -- all at once


def test_space_that_holes_give_back_shows_nobody_elses_bytes(make_volume):
    """Files that punch, reserve and write compete for a volume that is too small for them."""
    volume = make_volume(members=3, sizes=("4MiB",), unit="16KiB")
    failures = []

    def compete(number):
        try:
            _Competitor(volume.mnt / f"file{number}", number).run(soak(60))
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=compete, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    volume.remount()
    for number in range(4):
        tagged.check((volume.mnt / f"file{number}").read_bytes(), number, holes=True)


class _Competitor:
    """Changes one file at random; whatever it reads is its own or zeros, in its place."""

    SIZE = 4 * MIB

    def __init__(self, path, number):
        self.number = number
        self.random = random.Random(number)
        self.fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)

    def range(self):
        pos = self.random.randrange(self.SIZE) // 4096 * 4096
        return pos, min(self.random.randint(1, 256) * 4096, self.SIZE - pos)

    def write(self, pos, length):
        os.pwrite(self.fd, tagged.content(self.number, length, pos), pos)

    def punch(self, pos, length):
        syscalls.punch(self.fd, pos, length)

    def reserve(self, pos, length):
        syscalls.fallocate(self.fd, syscalls.FALLOC_KEEP_SIZE, pos, length)

    def zero(self, pos, length):
        syscalls.fallocate(self.fd, syscalls.FALLOC_ZERO_RANGE, pos, length)

    def run(self, steps):
        for _ in range(steps):
            step = self.random.choice((self.write, self.write, self.punch, self.reserve, self.zero))
            try:
                step(*self.range())
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
            pos, length = self.range()
            tagged.check(os.pread(self.fd, length, pos), self.number, pos, holes=True)
            os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)
        with contextlib.suppress(OSError) if CACHE == "kernel" else contextlib.nullcontext():
            os.close(self.fd)  # told here that the volume was full
