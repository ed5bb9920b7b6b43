# SPDX-License-Identifier: MIT
"""Files that move into another layout under readers and writers, and under a killed server."""

import contextlib
import json
import mmap
import os
import random
import threading

import pytest

from iomapd.errors import IomapdError
from iomapd.tools.migrate import migrate_file
from tests.mounted import tagged
from tests.mounted.harness import ON_HOST, soak

pytestmark = pytest.mark.skipif(ON_HOST, reason="the host's file system moves nothing")
MIB = 1 << 20
VOLUME = {"members": 4, "unit": "64KiB", "memory": True}
REQUEST = 64 << 10


def programs_of(volume, path):
    return {piece["program"] for piece in volume.map(path)["extents"]} - {None}


def migrate(volume, *arguments):
    answer = json.loads(volume.cli("migrate", "--json", *arguments).stdout)
    assert (answer["schema"], answer["version"]) == ("iomapd.migrate", 1)
    return answer["files"]


def test_a_file_takes_the_layout_of_its_directory(workdir, shared_volume):
    paths = [workdir / "a", workdir / "b"]
    for number, path in enumerate(paths):
        path.write_bytes(tagged.content(number, 9 * MIB + 5000))
    before = [path.stat() for path in paths]
    assert [file["moved"] for file in migrate(shared_volume, *paths)] == [0, 0]
    shared_volume.cli("layout", "set", workdir, "--unit", "16KiB", "--program", "declustered")
    done = migrate(shared_volume, "--step", "4MiB", *paths)
    assert all(9 * MIB < file["moved"] < 11 * MIB for file in done)
    assert {file["layout"]["unit"] for file in done} == {16384}
    for again in (False, True):
        for number, path in enumerate(paths):
            tagged.check(path.read_bytes(), number)
            tagged.check(shared_volume.mapped_bytes(path), number)
            assert programs_of(shared_volume, path) == {"declustered"}
            assert path.stat().st_mtime_ns == before[number].st_mtime_ns
            assert path.stat().st_ino == before[number].st_ino
        if not again:
            shared_volume.remount()
    assert shared_volume.cli("migrate", paths[0]).stdout == (
        f"{paths[0]}: nothing to move; unit 16KiB over all members, program declustered\n"
    )


def test_what_cannot_be_migrated_is_said_in_a_line(workdir, shared_volume, tmp_path):
    (tmp_path / "elsewhere").touch()
    (workdir / "fifo").parent.joinpath("directory").mkdir()
    for path, words in (
        (tmp_path / "elsewhere", "not on a mounted iomapd volume"),
        (workdir / "directory", "not a regular file"),
        (workdir / "absent", "No such file"),
    ):
        done = shared_volume.cli("migrate", path, check=False)
        (line,) = done.stderr.splitlines()
        assert done.returncode != 0
        assert words in line
        assert str(path) in line


def test_a_full_volume_keeps_the_file_where_it_is(make_volume):
    volume = make_volume(members=2, sizes=("8MiB",))
    path = volume.mnt / "f"
    path.write_bytes(tagged.content(1, 11 * MIB))
    with (volume.mnt / "hog").open("wb") as hog:
        free = os.statvfs(volume.mnt)
        os.posix_fallocate(hog.fileno(), 0, free.f_bavail * free.f_frsize)
    volume.cli("layout", "set", volume.mnt, "--unit", "1MiB")
    done = volume.cli("migrate", path, check=False)
    assert done.returncode == 1
    assert "no room" in done.stderr
    tagged.check(path.read_bytes(), 1)
    # A little is enough: it goes piece by piece, each in the room of the one before.
    os.truncate(volume.mnt / "hog", (volume.mnt / "hog").stat().st_size - MIB)
    assert migrate(volume, path)[0]["moved"] >= 11 * MIB
    volume.remount()
    tagged.check(path.read_bytes(), 1)


class Crew:
    """Readers and writers past the page cache: each writer has blocks of its own.

    Args:
        path: a file of tagged blocks.
        size: bytes.
    """

    def __init__(self, path, size, writers=2, readers=2):
        self.path, self.size, self.stop = path, size, threading.Event()
        # The round of each request-sized piece that was written and acknowledged.
        self.rounds = [0] * (size // REQUEST)
        self.faults, self.requests = [], 0
        self.threads = [
            *(threading.Thread(target=self._run, args=(self._write, i)) for i in range(writers)),
            *(threading.Thread(target=self._run, args=(self._read, i)) for i in range(readers)),
        ]
        self.writers = writers

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def _run(self, work, number):
        chance = random.Random(number)
        buffer = mmap.mmap(-1, REQUEST)
        fd = os.open(self.path, os.O_RDWR | os.O_DIRECT)
        try:
            while not self.stop.is_set():
                work(fd, buffer, chance, number)
                self.requests += 1
        except (OSError, AssertionError) as error:
            self.faults.append(error)
        finally:
            with contextlib.suppress(OSError):  # of a server that is no more
                os.close(fd)

    def _write(self, fd, buffer, chance, number):
        piece = chance.randrange(number, len(self.rounds), self.writers)
        round_ = self.rounds[piece] + 1
        buffer[:] = tagged.content(1, REQUEST, piece * REQUEST, round_)
        assert os.pwritev(fd, [buffer], piece * REQUEST) == REQUEST
        self.rounds[piece] = round_

    def _read(self, fd, buffer, chance, _):
        piece = chance.randrange(len(self.rounds))
        for last in (False, False, False, False, True):
            known = self.rounds[piece]
            assert os.preadv(fd, [buffer], piece * REQUEST) == REQUEST
            try:
                assert min(tagged.check(bytes(buffer), 1, piece * REQUEST)) >= known
            except AssertionError as error:
                # Direct reads and writes of one block may overlap: half of each, for that moment.
                if last or "torn" not in str(error):
                    raise
            else:
                return

    def check(self, data):
        assert not self.faults
        for piece, known in enumerate(self.rounds):
            part = data[piece * REQUEST : (piece + 1) * REQUEST]
            assert min(tagged.check(part, 1, piece * REQUEST)) >= known


LAYOUTS = [
    ("--unit", "16KiB", "--width", "3"),
    ("--unit", "256KiB", "--width", "0", "--program", "rotated"),
    ("--unit", "64KiB", "--program", "reverse"),
    ("--unit", "64KiB", "--width", "1", "--program", "raid0"),
]


@pytest.mark.parametrize("plan", [
    {"lanes": "2"}, {"lanes": "2", "options": ("mapper=cache",)},
], ids=str)  # fmt: skip
def test_readers_and_writers_notice_nothing(make_volume, plan):
    volume = make_volume(members=4, memory=True, **plan)
    path, size = volume.mnt / "f", 8 * MIB
    path.write_bytes(tagged.content(1, size))
    with Crew(path, size) as crew:
        for turn in range(soak(2)):
            volume.cli("layout", "set", volume.mnt, *LAYOUTS[turn % len(LAYOUTS)])
            assert migrate(volume, "--step", "2MiB", path)[0]["moved"] >= size
    assert crew.requests > 0
    crew.check(path.read_bytes())
    crew.check(volume.mapped_bytes(path))
    volume.remount()
    crew.check(path.read_bytes())


class Murder:
    """Kills the server of *volume* when progress was told *after* times; see `migrate_file`."""

    def __init__(self, volume, after):
        self.after, self.thread = after, threading.Thread(target=volume.kill9)

    def __call__(self, _what, _pos, _end):
        self.after -= 1
        if self.after == 0:
            self.thread.start()


def migrate_again_and_again(path, murder):
    while True:  # it may be done before the server is dead
        migrate_file(path, MIB, murder)


def test_a_server_killed_in_the_middle_has_lost_nothing(make_volume):
    volume = make_volume(members=4, memory=True)
    path, size = volume.mnt / "f", 8 * MIB
    for turn in range(soak(2)):
        path.write_bytes(tagged.content(1, size))
        volume.cli("layout", "set", volume.mnt, *LAYOUTS[turn % len(LAYOUTS)])
        murder = Murder(volume, after=turn % 3 + 1)
        with Crew(path, size, writers=1, readers=1) as crew:
            with pytest.raises((IomapdError, OSError)):
                migrate_again_and_again(path, murder)
            murder.thread.join()
        volume.mount()
        crew.faults.clear()
        crew.check(path.read_bytes())
        migrate(volume, path)
        crew.check(volume.mapped_bytes(path))
