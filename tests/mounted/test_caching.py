# SPDX-License-Identifier: MIT
"""The caching modes: whoever caches, everybody reads what was written last."""

import contextlib
import errno
import mmap
import os

import pytest

from tests.mounted import syscalls, tagged
from tests.mounted.harness import ON_HOST

BLOCK = tagged.BLOCK
OLD = 1_000_000_000_123_456_789
MODES = ("through", "kernel", "none")

pytestmark = pytest.mark.skipif(ON_HOST, reason="the host has modes of its own")


@pytest.fixture(scope="module", params=MODES)
def cached(shared_volume, request):
    """One volume, mounted in each mode in turn; its directory of that mode."""
    shared_volume.remount(f"cache={request.param}")
    directory = shared_volume.mnt / request.param
    directory.mkdir()
    return directory


@pytest.fixture
def path(cached, request):
    return cached / request.node.name.partition("[")[0]


def test_info_names_the_mode(cached, shared_volume):
    assert shared_volume.info()["cache"]["mode"] == cached.name
    assert f"cache    {cached.name}: " in shared_volume.cli("info", shared_volume.mnt).stdout


def test_writes_of_any_size_through_a_write_only_handle_come_back(path, shared_volume):
    """Under a writeback cache the kernel reads the rest of a page through such a handle."""
    wanted = bytearray(3 * BLOCK + 17)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    for pos, size in ((0, 5000), (4990, 20), (2 * BLOCK + 1, 1), (3 * BLOCK, 17), (7, 4096)):
        data = os.urandom(size)
        wanted[pos : pos + size] = data
        assert os.pwrite(fd, data, pos) == size
    os.close(fd)
    assert path.read_bytes() == wanted
    assert shared_volume.mapped_bytes(path) == wanted


def test_appending_goes_behind_what_is_there(path, shared_volume):
    for part in (b"a" * 10, b"b" * 5000, b"c"):
        with path.open("ab") as file:
            file.write(part)
    assert path.read_bytes() == b"a" * 10 + b"b" * 5000 + b"c"
    assert shared_volume.mapped_bytes(path) == path.read_bytes()


def test_cached_and_direct_handles_see_each_other(path):
    path.write_bytes(tagged.content(1, 16 * BLOCK))
    fd = os.open(path, os.O_RDWR | os.O_DIRECT)
    with path.open("r+b", buffering=0) as file:
        assert tagged.check(file.read(), 1) == [0] * 16
        syscalls.direct_write(fd, tagged.block(1, 3 * BLOCK, 4), 3 * BLOCK)
        assert os.pread(file.fileno(), BLOCK, 3 * BLOCK) == tagged.block(1, 3 * BLOCK, 4)
        # Dirty in the page cache, if there is one: the direct read must not see older bytes.
        os.pwrite(file.fileno(), tagged.block(1, 5 * BLOCK, 9), 5 * BLOCK)
        assert tagged.read_tag(syscalls.direct_read(fd, BLOCK, 5 * BLOCK)).round == 9
    os.close(fd)


def test_shared_mappings_agree_with_reads_and_writes(path, shared_volume):
    path.write_bytes(tagged.content(1, 8 * BLOCK))
    with path.open("r+b", buffering=0) as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[BLOCK : 2 * BLOCK] = tagged.block(1, BLOCK, 3)
        assert os.pread(file.fileno(), BLOCK, BLOCK) == tagged.block(1, BLOCK, 3)
        os.pwrite(file.fileno(), tagged.block(1, 4 * BLOCK, 5), 4 * BLOCK)
        assert mapped[4 * BLOCK : 5 * BLOCK] == tagged.block(1, 4 * BLOCK, 5)
    rounds = [0, 3, 0, 0, 5, 0, 0, 0]
    assert tagged.check(path.read_bytes(), 1) == rounds
    assert tagged.check(shared_volume.mapped_bytes(path), 1) == rounds


def write_a_block(path, how):
    """Write the first block of *path* in one of three ways."""
    fd = os.open(path, os.O_RDWR | (os.O_DIRECT if how == "direct" else 0))
    if how == "mapped":
        with mmap.mmap(fd, 0) as mapped:
            mapped[5] = 1
            mapped.flush()
    else:
        syscalls.direct_write(fd, bytes(BLOCK), 0)
    os.close(fd)


def test_writes_move_the_times_for_good_and_utime_has_the_last_word(cached, shared_volume):
    paths = {how: cached / f"times-{how}" for how in ("buffered", "direct", "mapped")}
    for how, path in paths.items():
        path.write_bytes(bytes(2 * BLOCK))
        os.utime(path, ns=(OLD, OLD))
        write_a_block(path, how)
    last = cached / "times-utime"
    with last.open("wb") as file:
        file.write(bytes(100_000))
        os.utime(file.fileno(), ns=(OLD, OLD))
    before = {path: path.stat() for path in (*paths.values(), last)}
    shared_volume.remount(*shared_volume.mount_options)
    for path, was in before.items():
        found = path.stat()
        assert (found.st_mtime_ns > OLD) == (path != last), path.name
        assert (found.st_mtime_ns, found.st_size) == (was.st_mtime_ns, was.st_size), path.name
        if path.name != "times-mapped":  # which has to read the page, if it is in no cache
            assert found.st_atime_ns == OLD, path.name
        assert found.st_ctime_ns == was.st_ctime_ns, path.name


def test_truncates_between_writes_leave_zeros(path, shared_volume):
    with path.open("w+b", buffering=0) as file:
        file.write(b"x" * 10_000)
        file.truncate(5_000)
        file.truncate(9_000)
        os.pwrite(file.fileno(), b"y" * 100, 20_000)
    wanted = b"x" * 5_000 + bytes(15_000) + b"y" * 100
    assert path.read_bytes() == wanted
    assert shared_volume.mapped_bytes(path) == wanted


def test_a_copy_by_seek_data_loses_nothing(path):
    """The kernel does not write back before it asks where data are."""
    with path.open("w+b", buffering=0) as file:
        file.truncate(1 << 20)
        os.pwrite(file.fileno(), tagged.block(1, 300 << 10), 300 << 10)
        pos = os.lseek(file.fileno(), 0, os.SEEK_DATA)
        end = os.lseek(file.fileno(), pos, os.SEEK_HOLE)
        assert pos <= 300 << 10
        assert end >= (300 << 10) + BLOCK


def test_a_synchronous_write_is_there_after_a_killed_server(path, shared_volume):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_SYNC)
    os.write(fd, tagged.content(1, 4 * BLOCK))
    shared_volume.kill9()
    with contextlib.suppress(OSError):  # nobody takes the FLUSH
        os.close(fd)
    shared_volume.mount(*shared_volume.mount_options)
    tagged.check(path.read_bytes(), 1)


def test_space_that_came_with_writing_back_is_told(path):
    """With cache=kernel, du showed 0 of a new file until somebody changed it otherwise."""
    with path.open("wb") as file:
        file.write(bytes(1 << 20))
        file.flush()
        assert path.stat().st_size == 1 << 20
        os.fsync(file.fileno())
    while path.stat().st_blocks * 512 < 1 << 20:
        os.sched_yield()


def test_a_full_volume_is_told_at_the_latest_by_fsync(make_volume):
    volume = make_volume(members=2, sizes=("4MiB",), options=("cache=kernel",))
    fd = os.open(volume.mnt / "file", os.O_WRONLY | os.O_CREAT)
    with pytest.raises(OSError) as caught:  # noqa: PT012
        for _ in range(20):
            os.write(fd, bytes(1 << 20))
        os.fsync(fd)
    assert caught.value.errno == errno.ENOSPC
    os.close(fd)
    (volume.mnt / "file").unlink()


def test_a_read_only_mount_writes_nothing_back(shared_volume):
    shared_volume.remount("cache=kernel", "ro")
    assert shared_volume.info()["cache"]["mode"] == "kernel"
    for path in shared_volume.mnt.glob("*/test_appending*"):
        assert path.read_bytes() == b"a" * 10 + b"b" * 5000 + b"c"
