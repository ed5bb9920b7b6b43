# SPDX-License-Identifier: MIT
"""The recorder: what programs do to its files is in the logs, and so is what the product does."""

import fcntl
import mmap
import os
import resource
import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from random import Random

import pytest

from tests.faults.cuts import Cut, Replay, cut_points, materialize, random_cut, unflushed
from tests.faults.log import SECTOR, Flag, Kind
from tests.faults.recording import Recording
from tests.mounted import plumbing
from tests.mounted.harness import ON_HOST, Volume, is_root
from tests.mounted.tagged import content

pytestmark = [
    pytest.mark.mounted,
    pytest.mark.skipif(ON_HOST, reason="nothing is mounted"),
]
END = 1 << 40  # an instant after everything


@pytest.fixture
def recording(tmp_path):
    with Recording(tmp_path / "r") as recording:
        yield recording


def changes(log):
    """(kind, offset, length) of all but the first entry of a log."""
    return [(e.kind, e.offset, e.length) for e in log[1:]]


def opened(path, flags=0):
    return os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o600)


def fsync_directory(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


# --- writes, sizes, flushes ---------------------------------------------------


def test_writes_sizes_and_flushes_are_logged_in_order(recording):
    fd = opened(recording.directory / "a")
    os.pwrite(fd, b"x" * 10, 5)
    os.pwritev(fd, [b"y" * 600, b"z" * 600], 1000)
    os.fdatasync(fd)
    os.ftruncate(fd, 700)
    os.fsync(fd)
    os.close(fd)
    with open(recording.directory / "a", "wb"):
        pass  # O_TRUNC
    log = recording.logs()["a"]
    assert changes(log) == [
        (Kind.WRITE, 5, 10),
        (Kind.WRITE, 1000, 1200),
        (Kind.FLUSH, 0, 0),
        (Kind.TRUNCATE, 700, 0),
        (Kind.FLUSH, 0, 0),
        (Kind.TRUNCATE, 0, 0),
    ]
    assert log[1].data == bytes(5) + b"x" * 10 + bytes(SECTOR - 15)
    assert log[2].sector == 1


def test_direct_and_synchronous_writes_are_logged(recording):
    fd = opened(recording.directory / "a", os.O_DIRECT | os.O_DSYNC)
    with mmap.mmap(-1, 8192) as page:
        page.write(b"d" * 8192)
        os.pwritev(fd, [page], 4096)
        assert os.preadv(fd, [page], 4096) == 8192
    os.close(fd)
    (write,) = recording.logs()["a"][1:]
    assert (write.sector, write.nr_sectors, write.flags) == (8, 16, Flag.FUA)


def test_reads_see_what_was_written_and_locks_hold(recording):
    path = recording.directory / "a"
    path.write_bytes(b"abc" * 100_000)
    with path.open("r+b") as one, path.open("r+b") as two:
        assert one.read() == b"abc" * 100_000
        fcntl.flock(one, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert path.stat().st_size == 300_000


def test_a_shared_mapping_would_go_unseen_and_is_refused(recording):
    path = recording.directory / "a"
    path.write_bytes(bytes(4096))
    with path.open("r+b") as file, pytest.raises(OSError, match="No such device"):
        mmap.mmap(file.fileno(), 4096)


def test_what_is_written_during_a_flush_is_not_covered_by_it(tmp_path):
    with Recording(tmp_path / "r", flush_seconds=0.5) as recording:
        fd = opened(recording.directory / "a")
        with ThreadPoolExecutor(1) as pool:
            flush = pool.submit(os.fsync, fd)
            while Kind.FLUSH not in {e.kind for e in recording.logs()["a"]}:
                assert not flush.done()
            os.pwrite(fd, b"x", 0)
            flush.result()
        os.close(fd)
        logs = recording.logs()
    assert unflushed(logs["a"], END) == [2]


# --- names and marks ----------------------------------------------------------


def test_names_are_logged_in_the_directory(recording):
    (recording.directory / "new").write_bytes(b"new")
    (recording.directory / "old").write_bytes(b"old")
    with (recording.directory / "old").open("rb") as still_open:
        (recording.directory / "new").rename(recording.directory / "old")
        assert still_open.read() == b"old"
    fsync_directory(recording.directory)
    (recording.directory / "old").unlink()
    logs = recording.logs()
    assert [e.mark for e in logs["."]] == [
        "dirsync", "create 2 new", "create 3 old", "rename new old", "dirsync", "unlink old",
    ]  # fmt: skip
    assert {name: log[1].data[:3] for name, log in logs.items() if name != "."} == {
        "old~2": b"new",
        "old~3": b"old",
    }


def test_a_mark_is_in_every_log_at_one_instant(recording):
    for name in ("a", "b"):
        (recording.directory / name).write_bytes(b"x")
    recording.mark("acknowledged 1")
    marks = [log[-1] for log in recording.logs().values()]
    assert {(m.mark, m.kind) for m in marks} == {("acknowledged 1", Kind.MARK)}
    assert len({m.sequence for m in marks}) == 1
    with pytest.raises(OSError, match="too long"):
        recording.mark("x" * 480)


def test_files_that_were_there_are_logged_as_durable(tmp_path):
    (tmp_path / "r" / "backing").mkdir(parents=True)
    (tmp_path / "r" / "backing" / "a").write_bytes(b"before")
    with Recording(tmp_path / "r") as recording:
        with (recording.directory / "a").open("r+b") as file:
            file.write(b"after")
        materialize(recording.logs(), Cut(END), tmp_path / "state")
    assert (tmp_path / "state" / "a").read_bytes() == b"before"


# --- the recorder's own end ---------------------------------------------------


def test_a_killed_recorder_leaves_whole_logs_and_no_mount(tmp_path):
    recording = Recording(tmp_path).__enter__()
    (recording.directory / "a").write_bytes(b"x")
    recording.process.send_signal(signal.SIGKILL)
    recording.process.wait()
    with pytest.raises(AssertionError, match="the recorder failed"):
        recording.__exit__()
    assert changes(recording.logs()["a"]) == [(Kind.WRITE, 0, 1)]
    assert not plumbing.fuse_mounts_under(tmp_path)


def test_a_recorder_that_cannot_log_ends(tmp_path):
    recording = Recording(tmp_path).__enter__()
    (recording.directory / "a").write_bytes(b"x")
    resource.prlimit(recording.process.pid, resource.RLIMIT_FSIZE, (4096, 4096))
    with pytest.raises(OSError):
        (recording.directory / "a").write_bytes(b"x" * 4096)
    recording.process.wait(30)
    with pytest.raises(AssertionError, match="the recorder failed"):
        recording.__exit__()
    assert recording.logs()["a"][-1].kind == Kind.TRUNCATE  # the last that was logged whole


# --- SQLite -------------------------------------------------------------------


def rows(path):
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return [n for (n,) in database.execute("SELECT n FROM t ORDER BY n")]


def test_sqlite_keeps_what_it_synced_and_a_prefix_beyond(recording, tmp_path):
    path = recording.directory / "s.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE t (n INTEGER PRIMARY KEY)")
        database.execute("PRAGMA synchronous=NORMAL")
        database.execute("PRAGMA wal_checkpoint")
        wal = os.open(f"{path}-wal", os.O_RDWR)
        fsync_directory(recording.directory)
        for n in range(20):
            database.execute("INSERT INTO t VALUES (?)", (n,))
            if n % 5 == 4:
                os.fdatasync(wal)
                recording.mark(f"synced {n}")
        os.close(wal)
        logs = recording.logs()
    begin = next(e.sequence for e in logs["."] if e.mark == "synced 4")
    replay, random, seen = Replay(logs), Random(1), set()
    for instant in cut_points(logs, random, 20):
        if instant >= begin:
            promised = [e for e in logs["."] if e.sequence <= instant and e.mark[:6] == "synced"]
            replay.materialize(random_cut(logs, instant, random), tmp_path / "state")
            found = rows(tmp_path / "state" / "s.db")
            assert found == list(range(len(found)))
            assert len(found) > int(promised[-1].mark.split()[1])
            seen.add(len(found))
    assert len(seen) > 4  # not only what was synced survives


# --- the product --------------------------------------------------------------


@pytest.fixture
def volume_on_loops(recording, tmp_path):
    """A mounted volume on two loop devices over recorded files; its store is recorded too."""
    volume = volume_in(recording.directory, tmp_path / "v", loop=True).create().mount()
    yield volume
    troubles = volume.close() + volume.new_complaints()
    plumbing.detach_loops(recording.directory)
    assert not troubles


def volume_in(directory, base, *, loop=False):
    volume = Volume(base, members=2, sizes=("16MiB",), loop=loop)
    volume.layout, volume.store = directory / "volume.toml", directory / "volume.db"
    volume.members = volume.backing = [directory / f"m{i}.img" for i in range(2)]
    return volume


@pytest.mark.skipif(not is_root(), reason="needs loop devices")
def test_loop_devices_over_recorded_files_keep_what_was_fsynced(
    recording, volume_on_loops, tmp_path
):
    volume = volume_on_loops
    fd = opened(volume.mnt / "kept")
    os.pwrite(fd, content(1, 300_000), 0)
    os.fsync(fd)
    recording.mark("fsynced")
    os.pwrite(fd, content(2, 300_000), 0)
    os.close(fd)
    (volume.mnt / "late").write_bytes(b"x" * 5000)
    logs = recording.logs()
    instant = next(e.sequence for e in logs["."] if e.mark == "fsynced")
    assert {"m0.img", "m1.img", "volume.db", "volume.db-wal"} <= {
        name.split("~")[0] for name, log in logs.items() if any(e.kind == Kind.WRITE for e in log)
    }
    state = tmp_path / "state"
    materialize(logs, Cut(instant), state)

    survivor = volume_in(state, tmp_path / "w")
    survivor.layout.write_text(survivor.layout_text())
    try:
        assert survivor.fsck() == []
        survivor.mount()
        assert (survivor.mnt / "kept").read_bytes() == content(1, 300_000)
        assert os.listdir(survivor.mnt) == ["kept"]
    finally:
        assert survivor.close() == []
