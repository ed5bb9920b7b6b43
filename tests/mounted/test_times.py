# SPDX-License-Identifier: MIT
"""Times: what an operation touches, to the nanosecond, and what a remount keeps."""

import os

import pytest

from tests.mounted import syscalls
from tests.mounted.harness import CACHE, ON_HOST

OLD = 1_000_000_000_123_456_789


@pytest.fixture
def old_file(workdir):
    """A file whose times are long ago."""
    path = workdir / "file"
    path.write_bytes(b"x" * 100)
    os.utime(path, ns=(OLD, OLD))
    return path


# From 1901, where ext4 and tar begin, to beyond 2106, where 32 unsigned bits end.
TIMES = [0, -2, (1 - 2**31) * 10**9 + 1, 2**31 * 10**9 + 1, OLD, 2**33 * 10**9]


def test_set_times_come_back_to_the_nanosecond(workdir, shared_volume):
    wanted = {}
    for number, time in enumerate(TIMES):
        (workdir / f"f{number}").touch()
        (workdir / f"d{number}").mkdir()
        for path in (workdir / f"f{number}", workdir / f"d{number}"):
            os.utime(path, ns=(time, time + 1))
            wanted[path] = (time, time + 1)
    shared_volume.remount()
    for path, times in wanted.items():
        assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == times


def test_utime_now_and_only_one_of_the_two(old_file):
    os.utime(old_file, ns=(OLD + 5, OLD))
    status = old_file.stat()
    assert (status.st_atime_ns, status.st_mtime_ns) == (OLD + 5, OLD)
    os.utime(old_file)
    assert min(old_file.stat().st_atime_ns, old_file.stat().st_mtime_ns) > OLD + 10**9


@pytest.mark.parametrize("how", ["buffered", "direct"])
def test_a_write_after_utimens_moves_mtime_and_ctime(how, old_file):
    before = old_file.stat()
    fd = os.open(old_file, os.O_WRONLY | (os.O_DIRECT if how == "direct" else 0))
    syscalls.direct_write(fd, bytes(4096), 0)
    os.close(fd)
    after = old_file.stat()
    assert after.st_mtime_ns > before.st_mtime_ns
    assert after.st_ctime_ns >= before.st_ctime_ns
    assert after.st_atime_ns == before.st_atime_ns


def test_utimens_after_a_write_stays_as_tar_and_rsync_want_it(workdir, shared_volume):
    """The late commit of a written file's own mtime must not go over what utimens said."""
    path = workdir / "file"
    with path.open("wb") as file:
        file.write(b"x" * 3_000_000)
        os.utime(file.fileno(), ns=(OLD, OLD))
        os.fsync(file.fileno())
    assert path.stat().st_mtime_ns == OLD
    shared_volume.remount()
    assert path.stat().st_mtime_ns == OLD


def test_a_truncate_moves_mtime_even_to_the_same_size(old_file):
    os.truncate(old_file, 50)
    assert old_file.stat().st_mtime_ns > OLD
    os.utime(old_file, ns=(OLD, OLD))
    fd = os.open(old_file, os.O_WRONLY)
    os.ftruncate(fd, 50)
    os.close(fd)
    assert old_file.stat().st_mtime_ns > OLD


@pytest.mark.parametrize("change", ["create", "unlink", "mkdir", "rename", "link", "symlink"])
def test_names_move_the_times_of_their_directory(change, workdir):
    directory = workdir / "dir"
    directory.mkdir()
    (directory / "there").touch()
    (workdir / "outside").touch()
    os.utime(directory, ns=(OLD, OLD))
    {
        "create": lambda: (directory / "new").touch(),
        "unlink": lambda: (directory / "there").unlink(),
        "mkdir": lambda: (directory / "new").mkdir(),
        "rename": lambda: os.rename(workdir / "outside", directory / "in"),
        "link": lambda: os.link(workdir / "outside", directory / "in"),
        "symlink": lambda: os.symlink("x", directory / "in"),
    }[change]()
    assert directory.stat().st_mtime_ns > OLD
    assert directory.stat().st_ctime_ns > OLD


@pytest.mark.parametrize("change", ["chmod", "link", "unlink", "setxattr", "rename"])
def test_attribute_changes_move_ctime_alone(change, old_file, workdir):
    os.link(old_file, workdir / "second")
    before = old_file.stat()
    {
        "chmod": lambda: old_file.chmod(0o600),
        "link": lambda: os.link(old_file, workdir / "third"),
        "unlink": lambda: (workdir / "second").unlink(),
        "setxattr": lambda: os.setxattr(old_file, "user.x", b"y"),
        "rename": lambda: os.rename(workdir / "second", workdir / "fourth"),
    }[change]()
    after = old_file.stat()
    assert after.st_ctime_ns >= before.st_ctime_ns
    if not ON_HOST and CACHE != "kernel":  # who stamp with the coarse clock of the tick
        assert after.st_ctime_ns > before.st_ctime_ns
    assert after.st_mtime_ns == OLD


def test_times_of_unsynced_writes_survive_a_remount(workdir, shared_volume):
    path = workdir / "file"
    path.write_bytes(b"x")
    wanted = path.stat()
    shared_volume.remount()
    found = path.stat()
    assert (found.st_mtime_ns, found.st_size) == (wanted.st_mtime_ns, wanted.st_size)
