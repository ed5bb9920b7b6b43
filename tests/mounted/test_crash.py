# SPDX-License-Identifier: MIT
"""kill -9: what was fsynced is there; the rest may be lost, but is never another file's."""

import contextlib
import os
import threading

import pytest

from tests.mounted import syscalls, tagged, worker
from tests.mounted.harness import ON_HOST, soak

BLOCK = tagged.BLOCK
pytestmark = pytest.mark.skipif(ON_HOST, reason="the host's kernel cannot be killed")


def read_promises(job, wanted):
    """Read lines of a worker until *wanted* have come."""
    lines = []
    while len(lines) < wanted:
        line = job.stdout.readline()
        assert line, "the worker ended before the crash"
        lines.append(line)
    return lines


def rest_of(job):
    """What the worker said until the crash ended it; only whole lines count."""
    text, _ = job.communicate(timeout=60)
    return [line for line in text.splitlines(keepends=True) if line.endswith("\n")]


@pytest.mark.parametrize("lanes", [None, "0"], ids=["lanes", "no-lanes"])
def test_every_promise_of_fsync_is_kept(lanes, make_volume):
    volume = make_volume(members=3, sizes=("96MiB",), **({"lanes": lanes} if lanes else {}))
    promised = {}
    for round_ in range(soak(2, 10)):
        first = [1000 * round_, 1000 * round_ + 500]
        jobs = [worker.start("promise", volume.mnt, number, 40) for number in first]
        lines = [read_promises(job, 15) for job in jobs]
        volume.kill9()
        for job, said in zip(jobs, lines, strict=True):
            for line in said + rest_of(job):
                number, length = map(int, line.split())
                promised[number] = length
        volume.mount()
        assert len(promised) >= 30 * (round_ + 1), "a test that promises nothing proves nothing"
        for number, length in promised.items():
            data = (volume.mnt / str(number)).read_bytes()
            assert len(data) == length
            tagged.check(data, number)


def test_unsynced_data_is_never_another_files(make_volume):
    """Fill with one owner's blocks, give the space to others without fsync, and kill."""
    volume = make_volume(members=3, sizes=("16MiB",))
    old = volume.mnt / "old"
    with old.open("wb") as file:
        file.write(tagged.content(1, 40 << 20))
        os.fsync(file.fileno())
    old.unlink()
    directory = os.open(volume.mnt, os.O_RDONLY)
    os.fsync(directory)  # the space is free from here on
    os.close(directory)
    jobs = [
        worker.start("scribble", volume.mnt / f"new{number}", number, 2000) for number in (2, 3, 4)
    ]
    for job in jobs:
        read_promises(job, 2)
    volume.kill9()
    for job in jobs:
        rest_of(job)
    volume.mount()
    for number in (2, 3, 4):
        path = volume.mnt / f"new{number}"
        for pos, tag in tags_of(path):
            assert tag is None or (tag.file, tag.pos) == (number, pos), f"{path}: {tag} at {pos}"


def tags_of(path):
    """(pos, tag) of each block; a torn block is one that the crash caught half-written."""
    data = path.read_bytes()
    for pos in range(0, len(data), BLOCK):
        block = data[pos : pos + BLOCK]
        head = block[:8]
        assert head in (tagged.MAGIC, bytes(8)), f"{path}: bytes of nobody's at {pos}"
        file, at = (int.from_bytes(block[i : i + 8], "little") for i in (8, 16))
        yield pos, tagged.Tag(file, at, 0) if head == tagged.MAGIC else None


def test_a_file_cut_short_without_fsync_shows_no_old_bytes_when_it_grows(make_volume):
    volume = make_volume(members=2, sizes=("16MiB",))
    path = volume.mnt / "file"
    with path.open("wb") as file:
        file.write(b"\xaa" * 100_000)
        os.fsync(file.fileno())
    os.truncate(path, 10_000)
    os.truncate(path, 50_000)
    with path.open("rb") as file:
        os.fsync(file.fileno())
    volume.crash_and_mount()
    assert path.read_bytes() == b"\xaa" * 10_000 + bytes(40_000)


def test_a_replacing_rename_shows_the_old_file_or_the_new_one(make_volume):
    """The editor's habit of write, rename without fsync: never an empty or half file."""
    volume = make_volume(members=2, sizes=("16MiB",))
    path, stop = volume.mnt / "config", threading.Event()
    path.write_bytes(tagged.content(0, 20 * BLOCK))
    with path.open("rb") as file:
        os.fsync(file.fileno())
    counts = []

    def edit():
        number = 0
        try:
            while not stop.is_set():
                number += 1
                new = volume.mnt / "config.new"
                new.write_bytes(tagged.content(number, 20 * BLOCK))
                os.rename(new, path)
                counts.append(number)
                if number == 8:
                    started.set()
        except OSError:
            return

    started = threading.Event()
    editor = threading.Thread(target=edit)
    editor.start()
    assert started.wait(60)
    volume.kill9()
    stop.set()
    editor.join()
    volume.mount()
    data = path.read_bytes()
    assert len(data) == 20 * BLOCK
    number = tagged.read_tag(data[:BLOCK]).file
    tagged.check(data, number)
    # A killed server loses no operation that was answered.
    assert number in (counts[-1], counts[-1] + 1)


def write_synchronously(path, flags, per_write):
    """Write 64 blocks, each durable by itself; the descriptor is left open."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | flags)
    for pos in range(0, 64 * BLOCK, BLOCK):
        os.pwritev(fd, [syscalls.aligned(tagged.block(1, pos))], pos, per_write)
    return fd


def test_synchronous_writes_need_no_fsync(make_volume):
    volume = make_volume(members=2, sizes=("16MiB",))
    ways = {
        "dsync": (os.O_DSYNC, 0),
        "sync": (os.O_SYNC, 0),
        "direct-dsync": (os.O_DIRECT | os.O_DSYNC, 0),
        "per-write": (0, os.RWF_DSYNC),
    }
    fds = [write_synchronously(volume.mnt / name, *way) for name, way in ways.items()]
    volume.kill9()
    for fd in fds:
        with contextlib.suppress(OSError):  # its server is dead
            os.close(fd)
    volume.mount()
    for name in ways:
        data = (volume.mnt / name).read_bytes()
        assert len(data) == 64 * BLOCK, name
        tagged.check(data, 1)


def test_a_crashed_volume_is_used_on_as_if_nothing_had_been(make_volume):
    """Crash after crash: names, space and data stay in order without a repair run."""
    volume = make_volume(members=3, sizes=("24MiB",))
    kept = {}
    for round_ in range(soak(3, 10)):
        for number in range(round_ * 10, round_ * 10 + 10):
            path = volume.mnt / f"f{number}"
            with path.open("wb") as file:
                file.write(tagged.content(number, (number % 50 + 1) * BLOCK))
                os.fsync(file.fileno())
            kept[path] = number
        for path in list(kept)[::3]:
            path.unlink()
            del kept[path]
        volume.crash_and_mount()
        assert sorted(volume.mnt.iterdir()) == sorted(kept)
        for path, number in kept.items():
            tagged.check(path.read_bytes(), number)
    for path in kept:
        path.unlink()
    volume.remount()
    assert os.statvfs(volume.mnt).f_bfree == os.statvfs(volume.mnt).f_blocks
