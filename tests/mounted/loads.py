# SPDX-License-Identifier: MIT
"""Loads for a server that will be killed: each remembers what it was promised.

A load works alone in one directory, step after step, until a system call says that the
server is gone.  What it was about to do is noted before, what was answered after; so
`check` knows what must be there, what may be there, and that nothing else is.  After a
check the load goes on with what it found.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import zlib
from typing import TYPE_CHECKING

from tests.model.content import BLOCK
from tests.mounted import syscalls, tagged

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What a system call says when the server of its mount is dead, or dies meanwhile.
# EIO: the kernel was handing the request to a thread that died of the signal: the pages to copy it
# to can no longer be had, and fuse_dev_do_read() ends the request with EIO.
GONE = (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO)


class Load:
    """One kind of work in one directory.

    Attributes:
        directory: its own, made here.
        done: steps that were answered.
    """

    def __init__(self, directory: Path, seed: int) -> None:
        self.directory = directory
        self.random = random.Random(seed)
        self.done = 0
        self._number = 0
        directory.mkdir()

    def step(self) -> None:
        """Do one piece of work; raises OSError when the server is gone."""
        raise NotImplementedError

    def check(self) -> None:
        """The server was killed and the volume mounted again: are the promises kept?"""
        raise NotImplementedError

    def settle(self) -> None:
        """The mount ended in order after the last step: everything is durable."""

    def release(self) -> None:
        """Give up what belongs to the dead mount."""

    def reach(self) -> dict[str, int]:
        """How far each file was ever asked to be written, bytes, by name."""
        return {}

    def next_number(self) -> int:
        """A number that no other file of this load ever had."""
        self._number += 1
        return self._number

    def tag(self, number: int) -> int:
        """The owner that blocks of file *number* carry: unlike any of another load."""
        return zlib.crc32(self.directory.name.encode()) % 100_000 * 1_000_000 + number


@contextlib.contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    """A descriptor, closed at the end; a server that died meanwhile may say so twice."""
    fd = os.open(path, flags, 0o644)
    try:
        yield fd
    finally:
        os.close(fd)


class FsyncChain(Load):
    """Write a file, fsync it, next file; old ones are unlinked now and then."""

    KEPT = 24

    def __init__(self, directory: Path, seed: int) -> None:
        super().__init__(directory, seed)
        self.promised: dict[int, int] = {}
        self.trying: int | None = None
        self.removing: int | None = None

    def step(self) -> None:
        number = self.trying = self.next_number()
        length = self.random.randint(1, 40) * BLOCK - self.random.choice((0, 0, 100))
        with opened(self.directory / str(number), os.O_CREAT | os.O_EXCL | os.O_WRONLY) as fd:
            data, pos = tagged.content(self.tag(number), length), 0
            while pos < length:
                pos += os.pwrite(fd, data[pos : pos + 16 * BLOCK], pos)
            self.random.choice((os.fsync, os.fdatasync))(fd)
            self.promised[number] = length
        self.trying = None
        if len(self.promised) > self.KEPT:
            number = self.removing = self.random.choice(list(self.promised))
            del self.promised[number]
            os.unlink(self.directory / str(number))
            self.removing = None

    def check(self) -> None:
        found = {int(name) for name in os.listdir(self.directory)}
        doubtful = {self.trying, self.removing} - {None} - set(self.promised)
        assert found - doubtful == set(self.promised), "fsynced files are missing, or old ones back"
        for number, length in self.promised.items():
            data = (self.directory / str(number)).read_bytes()
            assert data == tagged.content(self.tag(number), length), f"{self.directory}/{number}"
        for number in found & doubtful:
            path = self.directory / str(number)
            tagged_only(path.read_bytes(), self.tag(number), path)
            path.unlink()
        self.trying = self.removing = None

    def reach(self) -> dict[str, int]:
        return {str(number): length for number, length in self.promised.items()}


class Log(Load):
    """Append to one file and fsync; start anew when it is long.  Space is made ahead of it."""

    LONGEST = 3 << 20

    def __init__(self, directory: Path, seed: int) -> None:
        super().__init__(directory, seed)
        self.path = directory / "log"
        self.fd = -1
        self.removing = False
        self._begin()

    def _begin(self) -> None:
        self.number = self.next_number()
        self.made = False
        self.size = self.trying = self.far = 0

    def step(self) -> None:
        if self.fd < 0:
            self.fd = os.open(self.path, os.O_CREAT | os.O_WRONLY, 0o644)
            self.made = True
        if self.size > self.LONGEST:
            self._remove()
            return
        length = self.random.randint(1, 64) * BLOCK
        self.trying = self.size + length
        self.far = max(self.far, self.trying)
        data = tagged.content(self.tag(self.number), length, self.size)
        for pos in range(0, length, 16 * BLOCK):
            piece = data[pos : pos + 16 * BLOCK]
            assert os.pwrite(self.fd, piece, self.size + pos) == len(piece)
        os.fdatasync(self.fd)
        self.size = self.trying

    def _remove(self) -> None:
        self.removing = True
        self.release()
        self.path.unlink()
        self.removing = False
        self._begin()

    def release(self) -> None:
        if self.fd >= 0:
            with contextlib.suppress(OSError):  # its server is dead
                os.close(self.fd)
        self.fd = -1

    def check(self) -> None:
        is_there, removing, self.removing = self.path.exists(), self.removing, False
        if not is_there:
            assert removing or not self.made, f"a log of {self.size} fsynced bytes is gone"
            self._begin()
            return
        data = self.path.read_bytes()
        assert self.size <= len(data) <= self.trying, f"{self.size} bytes fsynced: {len(data)}"
        tagged.check(data[: self.size], self.tag(self.number))
        tagged_only(data, self.tag(self.number), self.path)
        os.truncate(self.path, self.size)

    def reach(self) -> dict[str, int]:
        return {"log": self.far}


class SyncWriter(Load):
    """Write blocks of one file, each write durable before its answer; cut it now and then.

    One of four ways is kept for a while: the others' durability points would cover for it.
    """

    BLOCKS = 96
    WAYS = ((os.O_DSYNC, 0), (os.O_SYNC, 0), (os.O_DSYNC | os.O_DIRECT, 0), (0, os.RWF_DSYNC))

    def __init__(self, directory: Path, seed: int) -> None:
        super().__init__(directory, seed)
        self.path = directory / "synced"
        self.path.touch()
        self.way = self.WAYS[2]
        self.rounds: dict[int, int] = {}
        self.trying: tuple[range, int] = (range(0), 0)
        self.cutting = False

    def step(self) -> None:
        if self.random.random() < 0.05:
            self._cut()
        if self.random.random() < 0.05:
            self.way = self.random.choice(self.WAYS)
        round_ = self.next_number()
        first = self.random.randrange(self.BLOCKS)
        blocks = range(first, min(first + self.random.choice((1, 1, 4, 16)), self.BLOCKS))
        data = tagged.content(self.tag(0), len(blocks) * BLOCK, first * BLOCK, round_)
        flags, per_write = self.way
        self.trying = (blocks, round_)
        with opened(self.path, os.O_WRONLY | flags) as fd:
            done = os.pwritev(fd, [syscalls.aligned(data)], first * BLOCK, per_write)
            assert done == len(data), f"short write of {done}"
            self.rounds.update(dict.fromkeys(blocks, round_))
        self.trying = (range(0), 0)

    def _cut(self) -> None:
        self.cutting = True
        os.truncate(self.path, 0)
        self.rounds.clear()
        self.cutting = False

    def check(self) -> None:
        data = self.path.read_bytes()
        if self.cutting and not data:
            self.rounds.clear()
        longest = max(self.rounds, default=-1) + 1
        assert len(data) >= longest * BLOCK, "the size that a synchronous write made is lost"
        blocks, newest = self.trying
        found = tagged.check(data, self.tag(0), holes=True)
        for index, round_ in enumerate(found):
            right = {self.rounds.get(index, -1)} | ({newest} if index in blocks else set())
            assert round_ in right, f"block {index}: round {round_}, not one of {right}"
        self.rounds = {index: round_ for index, round_ in enumerate(found) if round_ >= 0}
        self.trying, self.cutting = (range(0), 0), False

    def reach(self) -> dict[str, int]:
        return {"synced": self.BLOCKS * BLOCK}


class Replacer(Load):
    """The editor's habit: write beside, rename over, no fsync.  Old or new, never half."""

    LENGTH = 20 * BLOCK

    def __init__(self, directory: Path, seed: int) -> None:
        super().__init__(directory, seed)
        self.path, self.beside = directory / "config", directory / "config.new"
        self.number = self.trying = 0

    def step(self) -> None:
        number = self.next_number()
        with opened(self.beside, os.O_CREAT | os.O_WRONLY | os.O_TRUNC) as fd:
            os.pwrite(fd, tagged.content(self.tag(number), self.LENGTH), 0)
        if not self.number:  # the first name replaces nothing: it needs its own promise
            with opened(self.beside, os.O_WRONLY) as fd:
                os.fsync(fd)
        self.trying = number
        os.rename(self.beside, self.path)
        self.number = number

    def check(self) -> None:
        right = {self.number, self.trying} - {0}
        if not self.path.exists():
            assert not self.number, "both the old file and the new one are gone"
        else:
            data = self.path.read_bytes()
            assert len(data) == self.LENGTH, f"a replaced file of {len(data)} bytes"
            self.number = tagged.read_tag(data[:BLOCK]).file - self.tag(0)
            assert self.number in right, f"version {self.number}, not one of {right}"
            tagged.check(data, self.tag(self.number))
        if self.beside.exists():
            tagged_only(self.beside.read_bytes(), self.tag(self._number), self.beside)

    def reach(self) -> dict[str, int]:
        return {"config": self.LENGTH, "config.new": self.LENGTH}


def tagged_only(data: bytes, owner: int, path: Path) -> None:
    """Every block is zeros or *owner*'s, in its place; it may end early, as the file does."""
    for pos in range(0, len(data), BLOCK):
        block = data[pos : pos + BLOCK]
        if any(block):
            whole = tagged.block(owner, pos, int.from_bytes(block[24:32], "little"), len(block))
            cut = block.rstrip(b"\0")
            assert block == whole or whole.startswith(cut), f"{path}: foreign bytes at {pos}"
