# SPDX-License-Identifier: MIT
"""Mounts of tampered volumes by the real commands: refused in one line, or served and unmounted.

`tests/faults/test_tampered_store.py` does thousands of these without a mount; here the
kernel, pyfuse3 and the server's process take part.
"""

import contextlib
import os
import shutil
import stat
from random import Random

import pytest

from tests.faults import mutate
from tests.mounted import tagged
from tests.mounted.harness import ON_HOST, SOAK

pytestmark = pytest.mark.skipif(ON_HOST, reason="the host's file system is not to be damaged")
MIB = 1 << 20
SEEDS = range(500, 560 if SOAK else 503)


def populate(mnt):
    """Some of everything, each file's blocks with its own number."""
    (mnt / "d" / "e").mkdir(parents=True)
    for number in range(8):
        (mnt / "d" / f"f{number}").write_bytes(tagged.content(number, 4096 * (number + 1)))
    (mnt / "wide").write_bytes(tagged.content(100, 3 * MIB))
    (mnt / "link").symlink_to("d/f1")
    (mnt / "again").hardlink_to(mnt / "wide")
    os.setxattr(mnt / "wide", "user.note", b"value")
    with (mnt / "sparse").open("wb") as file:
        file.truncate(1 << 40)
        file.seek(1 << 33)
        file.write(tagged.content(101, 8192, 1 << 33))


def use(directory, depth=0):
    """Touch everything that can be reached; errors are answers."""
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):
            path = os.path.join(directory, name)
            with contextlib.suppress(OSError):
                found = os.lstat(path)
                os.listxattr(path, follow_symlinks=False)
                if stat.S_ISLNK(found.st_mode):
                    os.readlink(path)
                elif stat.S_ISDIR(found.st_mode) and depth < 8:
                    use(path, depth + 1)
                elif stat.S_ISREG(found.st_mode):
                    _read_and_write(path)


def _read_and_write(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        for pos in (0, MIB, 1 << 33):
            os.pread(fd, MIB, pos)
    finally:
        os.close(fd)
    fd = os.open(path, os.O_RDWR)
    try:
        os.pwrite(fd, b"more", 5000)
        os.fsync(fd)
        os.ftruncate(fd, 6000)
    finally:
        os.close(fd)


@pytest.mark.timeout(3600 if SOAK else 100)
def test_a_tampered_volume_is_refused_or_served_and_unmounts(make_volume, tmp_path):
    volume = make_volume(members=3, sizes=("16MiB",), unit="16KiB")
    volume.expect_log("ERROR|WARNING|Error")  # each in words: tracebacks are looked for below
    populate(volume.mnt)
    volume.umount()
    volume.is_whole = False
    whole = {path: tmp_path / path.name for path in (volume.store, *volume.backing)}
    for path, copy in whole.items():
        shutil.copyfile(path, copy)
    served = 0
    for seed in SEEDS:
        for path, copy in whole.items():
            shutil.copyfile(copy, path)
        deed = mutate.damage(volume.base, volume.store.name, Random(seed))
        done = volume.cli("mount", volume.layout, volume.mnt, "--log", volume.log, check=False)
        assert done.returncode in (0, 1), (seed, deed, done.stderr)
        assert "internal error" not in done.stderr, (seed, deed, done.stderr)
        if done.returncode == 0:
            served += 1
            use(volume.mnt)
            done = volume.umount(check=False)
            assert not volume.is_mounted(), (seed, deed, done.stderr)
            assert not volume.server_pids(), (seed, deed)
        assert "Traceback" not in volume.log.read_text(), (seed, deed, volume.log_tail())
    assert served >= len(SEEDS) // 4
