# SPDX-License-Identifier: MIT
"""Writers side by side, in threads and in processes, never touch each other's bytes."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.mounted import syscalls, tagged, worker
from tests.mounted.harness import SOAK, soak

BLOCK = tagged.BLOCK
VOLUME = {"sizes": ("2GiB" if SOAK else "64MiB",)}


def create(path):
    path.touch()
    return path


@pytest.mark.parametrize("blocks", [1, 16, 256], ids=["4KiB", "64KiB", "1MiB"])
def test_parallel_direct_writes_of_one_file_all_arrive(blocks, workdir):
    """Threads interleave their writes, so that neighbours are written by different ones."""
    path, length, count = create(workdir / "file"), blocks * BLOCK, soak(48 if blocks < 256 else 16)

    def write_every_fourth(first):
        fd = os.open(path, os.O_WRONLY | os.O_DIRECT)
        for pos in range(first * length, 4 * count * length, 4 * length):
            syscalls.direct_write(fd, tagged.content(1, length, pos), pos)
        os.close(fd)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write_every_fourth, range(4)))
    data = path.read_bytes()
    assert len(data) == 4 * count * length
    tagged.check(data, 1)


def test_half_blocks_written_in_parallel_do_not_wipe_each_other(workdir):
    """Two 512-byte writes into one fresh block: neither zeroes what the other wrote."""
    path, sectors = create(workdir / "file"), soak(64) * 8

    def write_every_fourth(first):
        fd = os.open(path, os.O_WRONLY | os.O_DIRECT)
        for sector in range(first, sectors, 4):
            syscalls.direct_write(fd, sector.to_bytes(4) * 128, sector * 512)
        os.close(fd)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write_every_fourth, range(4)))
    assert path.read_bytes() == b"".join(s.to_bytes(4) * 128 for s in range(sectors))


def test_processes_write_one_file_together(workdir):
    path, count = create(workdir / "file"), soak(100)
    workers = [worker.start("stripe", path, 9, first, 3, count) for first in range(3)]
    assert [w.wait(60) for w in workers] == [0, 0, 0]
    for w in workers:
        w.stdout.close()
    tagged.check(path.read_bytes(), 9)


def test_appenders_of_many_processes_lose_and_mix_no_line(workdir):
    path, count = workdir / "log", soak(300)
    workers = [worker.start("append", path, name, count) for name in "abc"]
    assert [w.wait(60) for w in workers] == [0, 0, 0]
    for w in workers:
        w.stdout.close()
    lines = path.read_text().splitlines()
    for name in "abc":
        mine = [line for line in lines if line.startswith(f"{name} ")]
        assert mine == [f"{name} {i} {'x' * (i % 90)}" for i in range(count)]
    assert len(lines) == 3 * count


@pytest.mark.parametrize("how", ["buffered", "direct"])
def test_a_reader_beside_a_writer_sees_whole_blocks_of_this_file(how, workdir):
    """Any round of a block is right, bytes of another place or file never are."""
    path, blocks = workdir / "file", 64
    path.write_bytes(tagged.content(5, blocks * BLOCK))
    done = threading.Event()

    def rewrite():
        fd = os.open(path, os.O_WRONLY | os.O_DIRECT)
        for round_ in range(1, soak(12)):
            for pos in range(0, blocks * BLOCK, BLOCK):
                syscalls.direct_write(fd, tagged.block(5, pos, round_), pos)
        os.close(fd)
        done.set()

    def read():
        fd = os.open(path, os.O_RDONLY | (os.O_DIRECT if how == "direct" else 0))
        passes = 0
        while not done.is_set() or not passes:
            for pos in range(0, blocks * BLOCK, BLOCK):
                data = syscalls.direct_read(fd, BLOCK, pos)
                # 64 bytes are far below what any copy splits, so the head is never torn.
                assert data[:8] == tagged.MAGIC
                assert int.from_bytes(data[8:16], "little") == 5
                assert int.from_bytes(data[16:24], "little") == pos
            passes += 1
        os.close(fd)

    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(rewrite), pool.submit(read), pool.submit(read)]
        for job in jobs:
            job.result()


def test_truncating_beside_direct_writers_brings_no_size_back(workdir):
    """Writes in flight while the file is cut: afterwards size and content agree."""
    path, blocks = create(workdir / "file"), 64

    def write():
        fd = os.open(path, os.O_WRONLY | os.O_DIRECT)
        for round_ in range(soak(6)):
            for pos in range(0, blocks * BLOCK, BLOCK):
                syscalls.direct_write(fd, tagged.block(3, pos, round_), pos)
        os.close(fd)

    def cut():
        for length in (0, 5, 17, 40) * soak(8):
            os.truncate(path, length * BLOCK)

    with ThreadPoolExecutor(3) as pool:
        for job in [pool.submit(write), pool.submit(cut), pool.submit(write)]:
            job.result()
    data = path.read_bytes()
    assert len(data) == path.stat().st_size
    tagged.check(data, 3, holes=True)
    os.truncate(path, 0)
    os.truncate(path, blocks * BLOCK)
    assert not any(path.read_bytes()), "bytes that were cut off came back"


def test_many_files_are_written_and_read_at_once(workdir):
    def one_file(number):
        path, length = workdir / f"f{number}", (1 + number % 40) * BLOCK
        path.write_bytes(tagged.content(number, length))
        tagged.check(path.read_bytes(), number)
        if number % 3 == 0:
            path.unlink()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one_file, range(soak(240))))
    for path in workdir.iterdir():
        tagged.check(path.read_bytes(), int(path.name[1:]))
