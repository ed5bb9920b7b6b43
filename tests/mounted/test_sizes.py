# SPDX-License-Identifier: MIT
"""Sizes up to 8 EiB - 1: the far end of a file is a place like any other."""

import errno
import os

import pytest

from tests.mounted import syscalls, tagged
from tests.mounted.harness import CACHE, ON_HOST

LARGEST = 2**63 - 1
# Sizes reach 8 EiB - 1, data the last whole block below: the store counts in signed 64 bits.
DATA_END = LARGEST // 4096 * 4096
pytestmark = pytest.mark.skipif(ON_HOST, reason="ext4 ends at 16 TiB")


def test_truncating_up_to_the_largest_size(workdir, shared_volume):
    path = workdir / "file"
    path.write_bytes(b"head")
    os.truncate(path, LARGEST)
    for _ in range(2):
        assert path.stat().st_size == LARGEST
        with path.open("rb") as file:
            assert os.pread(file.fileno(), 8, 0) == b"head\0\0\0\0"
            assert os.pread(file.fileno(), 10, LARGEST - 10) == bytes(10)
            assert os.pread(file.fileno(), 100, LARGEST // 3) == bytes(100)
        shared_volume.remount()
    os.truncate(path, 4)
    assert path.read_bytes() == b"head"


@pytest.mark.parametrize("pos", [2**31 - 5, 2**32 - 5, 2**40 + 3, 2**52 - 1, 2**62 + 4097])
@pytest.mark.parametrize("flags", [0, os.O_DIRECT], ids=["buffered", "direct"])
def test_bytes_written_far_out_are_read_there(pos, flags, workdir, shared_volume):
    path = workdir / "file"
    pos = pos // 4096 * 4096 if flags else pos
    data = tagged.block(1, pos) * 2
    fd = os.open(path, os.O_RDWR | os.O_CREAT | flags)
    syscalls.direct_write(fd, data, pos)
    os.fsync(fd)
    assert syscalls.direct_read(fd, 3 * 4096, pos) == data
    assert os.fstat(fd).st_size == pos + len(data)
    os.close(fd)
    with path.open("rb") as file:
        assert os.pread(file.fileno(), 16384, pos) == data
        assert os.pread(file.fileno(), 100, pos - 100) == bytes(100)


def test_the_last_whole_block_of_all_can_be_written(workdir, shared_volume):
    path = workdir / "file"
    with path.open("wb") as file:
        assert os.pwrite(file.fileno(), b"last", DATA_END - 4) == 4
        os.truncate(path, LARGEST)
    shared_volume.remount()
    assert path.stat().st_size == LARGEST
    with path.open("rb") as file:
        assert os.pread(file.fileno(), 10, DATA_END - 6) == b"\0\0last\0\0\0\0"
    path.unlink()


@pytest.mark.skipif(CACHE == "kernel", reason="told when it is written back")
@pytest.mark.parametrize("pos", [DATA_END, DATA_END + 1, LARGEST - 2, LARGEST])
def test_nothing_is_written_beyond_the_end_of_data(pos, workdir):
    with (workdir / "file").open("wb") as file:
        with pytest.raises(OSError) as caught:
            os.pwrite(file.fileno(), b"xx", pos)
        assert caught.value.errno in (errno.EFBIG, errno.EINVAL, errno.EOVERFLOW)
        assert os.fstat(file.fileno()).st_size == 0
