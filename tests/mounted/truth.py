# SPDX-License-Identifier: MIT
"""Writers that want more space than there is, and readers who know whose every byte must be.

Every block says whose it is and where it belongs (`tagged`), every file has a number that no
other file ever had, and says it in its name.  So whoever reads any file at any time can
tell: its own bytes, or zeros, are right; anything else is a byte of somebody else's.

A file has one writer, who knows its content exactly and compares it now and then: what was
acknowledged is there, what was cut off is zeros.  Only when it truncates while its own writes are
on their way does it have to look what became of them.

    python -m tests.mounted.truth DIRECTORY NUMBER SECONDS BYTES FILES READERS

runs two writers of FILES files each, up to BYTES long, and READERS readers in DIRECTORY, and
prints what they did.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import sys
import threading
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.mounted import syscalls, tagged
from tests.mounted.aio import Writes

BLOCK = tagged.BLOCK
CHUNK = 2 * BLOCK
UNIT = 36  # of a tagged block; its last bytes are the round and a checksum
ROUND_AT = 24
ZEROS = bytes(BLOCK)
WRITERS = 2
SOME, MANY = 8, 96  # asynchronous writes at once


def owner(number: int) -> int:
    """The number that the blocks of file *number* carry: none of its bytes is zero."""
    digits = [number // 255**place % 255 + 1 for place in range(4)]
    return int.from_bytes(bytes(digits), "little")


def content(file: int, pos: int, end: int, round_: int) -> bytes:
    """The bytes of *file* from *pos* to *end*, wherever these lie in their blocks."""
    low = pos // BLOCK * BLOCK
    return tagged.content(file, end - low, low, round_)[pos - low :]


def check(data: bytes, file: int, pos: int) -> None:
    """Check that *data*, read from *pos*, a multiple of BLOCK, is *file*'s or zeros.

    Raises:
        AssertionError: there is a byte of somebody else's.
    """
    for at in range(0, len(data), BLOCK):
        block = data[at : at + BLOCK]
        if block == ZEROS[: len(block)]:
            continue
        round_ = int.from_bytes(block[ROUND_AT : ROUND_AT + 8], "little") & (1 << 62) - 1
        if block != tagged.block(file, pos + at, round_, len(block)):
            _check_mixed(block, file, pos + at)


def _check_mixed(block: bytes, file: int, pos: int) -> None:
    """A block of several rounds, or partly zeros: what is of one round only is not looked at."""
    own = tagged.block(file, pos, 0, len(block))
    for index, (seen, right) in enumerate(zip(block, own, strict=True)):
        if seen not in (right, 0) and index % UNIT < ROUND_AT:
            start = index // UNIT * UNIT
            told = block[start : start + UNIT].hex(" ", 8)
            raise AssertionError(f"a foreign byte at {pos + index} of file {file:x}: {told}")


class File:
    """A file and what it must hold."""

    def __init__(self, directory: Path, number: int) -> None:
        self.path = directory / str(number)
        self.owner = owner(number)
        self.data = bytearray()
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR
        self.cached = os.open(self.path, flags, 0o644)
        self.direct = os.open(self.path, os.O_RDWR | os.O_DIRECT)

    def close(self) -> None:
        """Close it."""
        os.close(self.cached)
        os.close(self.direct)

    def put(self, pos: int, data: bytes) -> None:
        """*data* was written at *pos*."""
        if data:
            self.cut(max(len(self.data), pos))
            self.data[pos : pos + len(data)] = data

    def cut(self, size: int) -> None:
        """The file was truncated, down or up."""
        del self.data[size:]
        self.data.extend(bytes(size - len(self.data)))

    def read(self) -> bytes:
        """All of it, from the server and not out of the page cache."""
        found, step = b"", 64 * BLOCK
        while piece := syscalls.direct_read(self.direct, step, len(found)):
            found += piece
            if len(piece) < step:
                break
        return found

    def verify(self) -> None:
        """Compare it with what it must hold."""
        found = self.read()
        assert len(found) == len(self.data), f"{self.path}: {len(found)}, not {len(self.data)} B"
        if found != self.data:
            check(found, self.owner, 0)
            at = next(
                i for i, pair in enumerate(zip(found, self.data, strict=True)) if len(set(pair)) > 1
            )
            raise AssertionError(
                f"{self.path}: at {at}: {found[at : at + UNIT].hex(' ', 8)}, "
                f"not {self.data[at : at + UNIT].hex(' ', 8)}"
            )


class Crowd:
    """Writers and readers of one process.

    Args:
        directory: of the files; others may work there too.
        number: of this crowd among others.
        size: no file is made longer, bytes.
        files: of each writer.
        readers: threads that read.
    """

    def __init__(self, directory: Path, number: int, size: int, files: int, readers: int) -> None:
        self.directory, self.number, self.size = directory, number, size
        self.files, self.readers = files, readers
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self.over = threading.Event()
        self._made = number * 1_000_000
        self._lock = threading.Lock()

    def new_file(self) -> File:
        """Make a file with a number that no file had."""
        with self._lock:
            self._made += 1
            return File(self.directory, self._made)

    def run(self, seconds: float) -> None:
        """Work for so long; failures are collected."""
        jobs = [Writer(self, n).run for n in range(WRITERS)]
        jobs += [Reader(self, n).run for n in range(self.readers)]
        threads = [threading.Thread(target=self._work, args=(job, seconds)) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(self, job, seconds: float) -> None:
        try:
            job(time.monotonic() + seconds)
        except Exception:
            self.failures.append(traceback.format_exc())
            self.over.set()


class Reader:
    """Reads whatever there is, and looks whose it is."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        self.crowd = crowd
        self.random = random.Random(crowd.number * 100 + 50 + number)

    def run(self, until: float) -> None:
        """Read until then."""
        while time.monotonic() < until and not self.crowd.over.is_set():
            names = os.listdir(self.crowd.directory)
            if names:
                self.look(self.random.choice(names))

    def look(self, name: str) -> None:
        """Read here and there in one file, which may be unlinked meanwhile."""
        file = owner(int(name))
        flags = os.O_RDONLY | self.random.choice((0, os.O_DIRECT))
        with contextlib.suppress(FileNotFoundError):
            fd = os.open(self.crowd.directory / name, flags)
            try:
                for _ in range(self.random.randrange(1, 8)):
                    pos = self.random.randrange(self.crowd.size // BLOCK) * BLOCK
                    data = syscalls.direct_read(fd, self.random.choice((1, 8, 64)) * BLOCK, pos)
                    check(data, file, pos)
                    self.crowd.counts["reads"] += 1
            finally:
                os.close(fd)


class Writer:
    """Changes its own files in every way, and knows what they must hold."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        self.crowd = crowd
        self.random = random.Random(crowd.number * 100 + number)
        self.files = [crowd.new_file() for _ in range(crowd.files)]
        self.round = 0
        # Races and writes before all, verification beside them.
        self.steps = [
            self.extend, self.extend, self.overwrite, self.overwrite, self.append_bytes,
            self.write_many, self.write_many, self.race, self.race, self.race, self.cut,
            self.punch, self.replace, self.verify,
        ]  # fmt: skip

    def run(self, until: float) -> None:
        """Work until then."""
        while time.monotonic() < until and not self.crowd.over.is_set():
            step = self.random.choice(self.steps)
            index = self.random.randrange(self.crowd.files)
            try:
                step(self.files[index])
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                self.give_room()
            self.crowd.counts[step.__name__] += 1
        for file in self.files:
            file.verify()
            file.close()

    def give_room(self) -> None:
        """The volume is full: empty the largest file, or replace it."""
        self.crowd.counts["full"] += 1
        largest = max(self.files, key=lambda file: len(file.data))
        if self.random.random() < 0.5:
            self.replace(largest)
        else:
            os.ftruncate(largest.cached, 0)
            largest.cut(0)

    # -- steps

    def new_bytes(self, file: File, pos: int, end: int) -> bytes:
        """Bytes that were never written before."""
        self.round += 1
        return content(file.owner, pos, end, self.round)

    def write(self, file: File, pos: int, end: int, *, direct: bool) -> None:
        """Write, and note what the kernel says was written."""
        data = self.new_bytes(file, pos, end)
        fd = file.direct if direct else file.cached
        done = os.pwritev(fd, [syscalls.aligned(data)], pos)
        file.put(pos, data[:done])

    def extend(self, file: File) -> None:
        """Append whole blocks, behind a gap when the end is none of a block."""
        pos = -len(file.data) // BLOCK * -BLOCK
        end = min(self.crowd.size, pos + self.random.randrange(1, 64) * BLOCK)
        if pos < end:
            self.write(file, pos, end, direct=self.random.random() < 0.7)

    def append_bytes(self, file: File) -> None:
        """Append where the file ends."""
        pos = len(file.data)
        end = min(self.crowd.size, pos + self.random.randrange(1, 3 * BLOCK))
        if pos < end:
            self.write(file, pos, end, direct=False)

    def overwrite(self, file: File) -> None:
        """Write blocks anywhere: over data, into holes, across the end."""
        pos = self.random.randrange(self.crowd.size // BLOCK) * BLOCK
        end = min(self.crowd.size, pos + self.random.randrange(1, 32) * BLOCK)
        self.write(file, pos, end, direct=self.random.random() < 0.7)

    def begin(self, file: File, count: int) -> tuple[Writes, list[tuple[int, bytes]]]:
        """Put *count* writes on their way, in any order."""
        starts = self.random.sample(range(0, self.crowd.size - CHUNK, CHUNK), count)
        pieces = [(pos, self.new_bytes(file, pos, pos + CHUNK)) for pos in starts]
        return Writes(file.direct, pieces), pieces

    def write_many(self, file: File) -> None:
        """Write side by side, and wait."""
        writes, pieces = self.begin(file, SOME)
        results = writes.wait()
        for result, (pos, data) in zip(results, pieces, strict=True):
            if result == len(data):
                file.put(pos, data)
        if any(result != CHUNK for result in results):
            self.accept(file, results, pieces, len(file.data))
            raise OSError(errno.ENOSPC, "for some of the writes")

    def race(self, file: File) -> None:
        """Truncate while writes are on their way; each comes before it or after it.

        Of many the kernel keeps some back, and the truncate overtakes these; but none that lies
        beyond the end, so the file is made long first, mostly with the space it needs.
        """
        if self.random.random() < 0.3:
            os.ftruncate(file.cached, self.crowd.size)
        else:
            syscalls.fallocate(file.cached, 0, 0, self.crowd.size)
        writes, pieces = self.begin(file, MANY)
        size = self.random.randrange(self.crowd.size // BLOCK) * BLOCK
        os.ftruncate(file.cached, size)
        self.accept(file, writes.wait(), pieces, size)

    def accept(
        self, file: File, results: list[int], pieces: list[tuple[int, bytes]], size: int
    ) -> None:
        """Look what is in a file of *size* bytes after writes of which nobody knows enough.

        What an asynchronous write could write of its bytes when a volume is full, the kernel
        does not tell: it answers ENOSPC when that was nothing, else EIO.
        """
        known = (CHUNK, -errno.ENOSPC, -errno.EIO)
        assert all(result in known for result in results), f"{file.path}: {results}"
        ends = {size}
        for result, (pos, _) in zip(results, pieces, strict=True):
            ends.update(range(pos if result < 0 else pos + CHUNK, pos + CHUNK + 1, BLOCK))
        found = file.read()
        assert len(found) in {end for end in ends if end >= size}, f"{file.path}: {len(found)} B"
        check(found, file.owner, 0)
        for result, (pos, data) in zip(results, pieces, strict=True):
            if result == CHUNK:
                # Below the cut in any case; above it when it came later, as the last one did.
                surely = CHUNK if pos + CHUNK == len(found) else max(0, size - pos)
                seen = found[pos : pos + CHUNK]
                lost = f"{file.path}: a write at {pos} is lost, cut to {size}, now {len(found)} B"
                assert seen[:surely] == data[:surely], lost
                assert seen[surely:] in (data[surely:], bytes(len(seen[surely:]))), lost
        file.data = bytearray(found)
        file.verify()

    def cut(self, file: File) -> None:
        """Truncate down or up, to a block's end or not."""
        size = self.random.randrange(self.crowd.size)
        size -= size % self.random.choice((1, BLOCK, BLOCK))
        os.ftruncate(file.cached, size)
        file.cut(size)

    def punch(self, file: File) -> None:
        """Make a hole."""
        pos = self.random.randrange(self.crowd.size)
        end = min(len(file.data), pos + self.random.randrange(1, 40 * BLOCK))
        if pos < end:
            syscalls.punch(file.cached, pos, end - pos)
            file.data[pos:end] = bytes(end - pos)

    def replace(self, file: File) -> None:
        """Unlink it, and begin another."""
        self.files.remove(file)
        file.path.unlink()
        file.close()
        self.files.append(self.crowd.new_file())

    def verify(self, file: File) -> None:
        """Compare; sometimes make it durable first."""
        if self.random.random() < 0.3:
            os.fsync(file.cached)
        file.verify()


def main() -> int:
    """Run a crowd; 1 when one of it saw what cannot be."""
    directory, number, seconds, *shape = sys.argv[1:]
    crowd = Crowd(Path(directory), int(number), *map(int, shape))
    crowd.run(float(seconds))
    sys.stdout.write(json.dumps(crowd.counts) + "\n")
    sys.stderr.write("".join(crowd.failures))
    return 1 if crowd.failures else 0


if __name__ == "__main__":
    sys.exit(main())
