# SPDX-License-Identifier: MIT
"""Ways to open, lock and control a file; what is not offered is refused, and harms nothing."""

import errno
import fcntl
import os
import subprocess
import sys
import termios
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.mounted import syscalls
from tests.mounted.harness import ON_HOST


def refused(number):
    return pytest.raises(OSError, check=lambda error: error.errno == number)


def test_exclusive_create_is_won_by_exactly_one(workdir):
    def contend(path):
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return 0
        return 1

    with ThreadPoolExecutor(8) as pool:
        for number in range(30):
            assert sum(pool.map(contend, [workdir / f"f{number}"] * 8)) == 1


def test_open_flags_mean_what_they_say(workdir):
    (workdir / "file").write_bytes(b"0123456789")
    (workdir / "dir").mkdir()
    os.symlink("file", workdir / "link")
    with refused(errno.ELOOP):
        os.open(workdir / "link", os.O_RDONLY | os.O_NOFOLLOW)
    with refused(errno.ENOTDIR):
        os.open(workdir / "file", os.O_RDONLY | os.O_DIRECTORY)
    with refused(errno.EISDIR):
        os.open(workdir / "dir", os.O_WRONLY)
    with refused(errno.ENOENT):
        os.open(workdir / "missing", os.O_RDONLY)
    fd = os.open(workdir / "link", os.O_RDWR | os.O_APPEND)
    assert os.pread(fd, 3, 4) == b"456"
    os.lseek(fd, 0, os.SEEK_SET)
    os.write(fd, b"ab")
    assert (workdir / "file").read_bytes() == b"0123456789ab"
    os.close(fd)
    os.close(os.open(workdir / "file", os.O_WRONLY | os.O_TRUNC))
    assert (workdir / "file").stat().st_size == 0


def test_reading_at_and_beyond_the_end(workdir):
    path = workdir / "file"
    path.write_bytes(b"x" * 5000)
    for flags in (os.O_RDONLY, os.O_RDONLY | os.O_DIRECT):
        fd = os.open(path, flags)
        if not (ON_HOST and flags & os.O_DIRECT):
            assert os.pread(fd, 100, 4990) == b"x" * 10
            assert os.pread(fd, 100, 5000) == b""
            assert os.pread(fd, 100, 10**12) == b""
            assert len(os.pread(fd, 1 << 20, 1)) == 4999
        os.close(fd)


LOCK = """
import fcntl, sys
file = open(sys.argv[1], "r+")
try:
    getattr(fcntl, sys.argv[2])(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("held")
else:
    print("free")
"""


@pytest.mark.parametrize("kind", ["flock", "lockf"])
def test_locks_of_one_process_keep_others_out(kind, workdir):
    path = workdir / "file"
    path.touch()

    def ask():
        return subprocess.run(
            [sys.executable, "-I", "-c", LOCK, path, kind],
            check=True, capture_output=True, text=True, timeout=60,
        ).stdout.strip()  # fmt: skip

    with path.open("r+") as file:
        getattr(fcntl, kind)(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert ask() == "held"
        getattr(fcntl, kind)(file, fcntl.LOCK_UN)
        assert ask() == "free"


@pytest.mark.skipif(ON_HOST, reason="the host's file system offers these")
def test_what_is_not_offered_is_refused_and_harms_nothing(workdir):
    path = workdir / "file"
    path.write_bytes(b"kept")
    fd = os.open(path, os.O_RDWR)
    collapse, insert = 0x08, 0x20  # FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE
    for mode in (collapse, insert):
        with refused(errno.EOPNOTSUPP):
            syscalls.fallocate(fd, mode, 0, 4096)
    fs_ioc_getflags = 0x80086601  # what lsattr(1) asks
    for command in (termios.TCGETS, fs_ioc_getflags):
        with refused(errno.ENOTTY):
            fcntl.ioctl(fd, command, bytes(100))
    os.close(fd)
    assert path.read_bytes() == b"kept"


def test_sendfile_copies_in_the_kernel(workdir):
    source, target = workdir / "source", workdir / "target"
    source.write_bytes(os.urandom(1_000_000))
    with source.open("rb") as a, target.open("wb") as b:
        done = 0
        while done < 1_000_000:
            done += os.sendfile(b.fileno(), a.fileno(), done, 1_000_000 - done)
    assert target.read_bytes() == source.read_bytes()
