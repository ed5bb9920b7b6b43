# SPDX-License-Identifier: MIT
"""Random operations on one file, and the same on a file of the host, compared byte by byte.

In the manner of fsx: one file under test, one reference file on the host's file
system.  Each operation goes to both; what it returns, the size after it and, every so
often, all bytes must be equal.  A failure prints the seed and the last operations.

Operations: read and write (buffered and O_DIRECT, aligned or not), append, truncate
both ways, mmap read, mmap write with msync, fsync, fdatasync, O_DSYNC write,
copy_file_range, fallocate (with and without keeping the size), holes, zeroed ranges,
close and reopen, and whatever the caller adds (unmount and mount).
Dirty mapped pages are written back at once: POSIX leaves open what a direct read
beside them sees.
"""

from __future__ import annotations

import collections
import errno
import mmap
import os
import random
from typing import TYPE_CHECKING

from tests.mounted import syscalls
from tests.mounted.harness import ON_HOST

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PAGE = 4096
# Names and weights; a remount is rare because it costs a second.
WEIGHTS = {
    "read": 8,
    "direct_read": 8,
    "write": 12,
    "direct_write": 12,
    "append": 3,
    "truncate_down": 3,
    "truncate_up": 3,
    "mapped_read": 4,
    "mapped_write": 6,
    "fsync": 1,
    "fdatasync": 1,
    "dsync_write": 1,
    "copy_range": 2,
    "preallocate": 2,
    "punch": 3,
    "zero_range": 2,
    "seek": 2,
    "reopen": 2,
}


class FileMachine:
    """One file in two places."""

    def __init__(
        self, path: Path, reference: Path, seed: int, *, max_size: int, max_io: int
    ) -> None:
        """Create both files, empty.

        Args:
            path: the file under test.
            reference: its twin on the host.
            seed: of every choice.
            max_size: no operation goes beyond, bytes.
            max_io: largest single transfer, bytes.
        """
        self.path, self.reference = path, reference
        self.random = random.Random(seed)
        self.max_size, self.max_io = max_size, max_io
        self.history: collections.deque[str] = collections.deque(maxlen=40)
        self.fd = self.direct = self.ref = -1
        self._open(os.O_CREAT | os.O_EXCL)

    # --- the life of the descriptors ---------------------------------------

    def _open(self, flags: int = 0) -> None:
        self.fd = os.open(self.path, os.O_RDWR | flags, 0o644)
        self.direct = os.open(self.path, os.O_RDWR | os.O_DIRECT)
        self.ref = os.open(self.reference, os.O_RDWR | flags, 0o644)

    def close(self) -> None:
        """Close all descriptors."""
        for fd in (self.fd, self.direct, self.ref):
            os.close(fd)

    def around(self, step: Callable[[], object], name: str) -> None:
        """Do *step* while nothing of the file is open, then compare."""
        self.history.append(name)
        self.close()
        step()
        self._open()
        self.compare()

    # --- choices ------------------------------------------------------------

    def size(self) -> int:
        """Size by the reference, bytes."""
        return os.fstat(self.ref).st_size

    def _range(self, limit: int, align: int = 1) -> tuple[int, int]:
        """A (pos, length) inside *limit*, both multiples of *align*; short ones and long ones."""
        scale = self.random.choice((64, 4096, 65536, self.max_io))
        length = max(1, self.random.randint(1, min(scale, self.max_io)) // align) * align
        pos = self.random.randrange(max(limit - length, 0) + 1) // align * align
        if self.random.random() < 0.3:  # starts on a block: where units and pages meet
            pos = pos // PAGE * PAGE
        return pos, length

    def _direct_align(self) -> int:
        # FUSE takes direct I/O of any alignment, the host's file systems do not.
        return 1 if not ON_HOST and self.random.random() < 0.3 else PAGE

    # --- operations -----------------------------------------------------------

    def read(self) -> str:
        """Buffered read."""
        pos, length = self._range(self.max_size)
        assert os.pread(self.fd, length, pos) == os.pread(self.ref, length, pos)
        return f"{pos}+{length}"

    def direct_read(self) -> str:
        """O_DIRECT read."""
        pos, length = self._range(self.max_size, self._direct_align())
        assert syscalls.direct_read(self.direct, length, pos) == os.pread(self.ref, length, pos)
        return f"{pos}+{length}"

    def _write_both(self, write: Callable[[bytes, int], object], align: int = 1) -> str:
        pos, length = self._range(self.max_size, align)
        data = self.random.randbytes(length)
        write(data, pos)
        assert os.pwrite(self.ref, data, pos) == length
        return f"{pos}+{length}"

    def write(self) -> str:
        """Buffered write."""
        return self._write_both(lambda data, pos: os.pwrite(self.fd, data, pos))

    def direct_write(self) -> str:
        """O_DIRECT write."""
        return self._write_both(
            lambda data, pos: syscalls.direct_write(self.direct, data, pos), self._direct_align()
        )

    def dsync_write(self) -> str:
        """Buffered write with RWF_DSYNC."""
        return self._write_both(lambda data, pos: os.pwritev(self.fd, [data], pos, os.RWF_DSYNC))

    def append(self) -> str:
        """Write through a descriptor opened with O_APPEND."""
        length = min(self.random.randint(1, 20_000), self.max_size - self.size())
        data = self.random.randbytes(max(length, 0))
        for path in (self.path, self.reference):
            fd = os.open(path, os.O_WRONLY | os.O_APPEND)
            assert os.write(fd, data) == len(data)
            os.close(fd)
        return f"+{len(data)}"

    def _truncate(self, size: int) -> str:
        by_path = self.random.random() < 0.5
        for path, fd in ((self.path, self.fd), (self.reference, self.ref)):
            os.truncate(path, size) if by_path else os.ftruncate(fd, size)
        return f"{size}{' by path' if by_path else ''}"

    def truncate_down(self) -> str:
        """Truncate to something smaller."""
        return self._truncate(self.random.randint(0, self.size()))

    def truncate_up(self) -> str:
        """Truncate to something larger."""
        return self._truncate(self.random.randint(self.size(), self.max_size))

    def mapped_read(self) -> str:
        """Read through a shared mapping."""
        if not self.size():
            return "empty"
        pos, length = self._range(self.size())
        with mmap.mmap(self.fd, self.size(), prot=mmap.PROT_READ) as mapped:
            assert mapped[pos : pos + length] == os.pread(self.ref, length, pos)
        return f"{pos}+{length}"

    def mapped_write(self) -> str:
        """Write through a shared mapping, then msync."""
        size = self.size()
        if not size:
            return "empty"
        pos, length = self._range(size)
        data = self.random.randbytes(min(length, size - pos))
        with mmap.mmap(self.fd, size) as mapped:
            mapped[pos : pos + len(data)] = data
            mapped.flush()
        os.pwrite(self.ref, data, pos)
        return f"{pos}+{len(data)}"

    def fsync(self) -> str:
        """fsync."""
        os.fsync(self.fd)
        return ""

    def fdatasync(self) -> str:
        """fdatasync of the O_DIRECT descriptor."""
        os.fdatasync(self.direct)
        return ""

    def copy_range(self) -> str:
        """copy_file_range inside the file, from the first half to the second."""
        half = self.size() // 2
        length = self.random.randint(0, min(half, self.max_io))
        if length:
            data = os.pread(self.ref, length, 0)
            done = os.copy_file_range(self.fd, self.fd, length, 0, half)
            assert done > 0
            os.pwrite(self.ref, data[:done], half)
        return f"0+{length} to {half}"

    def preallocate(self) -> str:
        """fallocate, raising the size or not."""
        pos, length = self._range(self.max_size)
        mode = self.random.choice((0, syscalls.FALLOC_KEEP_SIZE))
        syscalls.fallocate(self.fd, mode, pos, length)
        if not mode and pos + length > self.size():
            os.ftruncate(self.ref, pos + length)
        return f"{pos}+{length} mode {mode}"

    def punch(self) -> str:
        """fallocate, punching a hole; the reference gets zeros."""
        pos, length = self._range(self.max_size)
        syscalls.punch(self.fd, pos, length)
        self._zero_reference(pos, min(pos + length, self.size()))
        return f"{pos}+{length}"

    def zero_range(self) -> str:
        """fallocate, zeroing a range."""
        pos, length = self._range(self.max_size)
        keep = self.random.choice((0, syscalls.FALLOC_KEEP_SIZE))
        syscalls.fallocate(self.fd, syscalls.FALLOC_ZERO_RANGE | keep, pos, length)
        end = pos + length
        self._zero_reference(pos, min(end, self.size()) if keep else end)
        return f"{pos}+{length} mode {keep}"

    def _zero_reference(self, pos: int, end: int) -> None:
        if pos < end:
            os.pwrite(self.ref, bytes(end - pos), pos)

    def seek(self) -> str:
        """Walk over data and holes: what is passed over as a hole holds nothing."""
        pos, size, found = 0, self.size(), 0
        while pos < size:
            try:
                data = os.lseek(self.fd, pos, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                data = size
            assert not any(os.pread(self.ref, data - pos, pos)), f"data in {pos}..{data}"
            pos = os.lseek(self.fd, data, os.SEEK_HOLE) if data < size else size
            found += 1
        return f"{found} pieces"

    def reopen(self) -> str:
        """Close everything and open again."""
        self.close()
        self._open()
        return ""

    # --- the run ----------------------------------------------------------------

    def run(self, steps: int, compare_every: int = 40) -> None:
        """Do *steps* random operations; all bytes are compared now and then and at the end.

        Raises:
            AssertionError: with the last operations, on the first difference.
        """
        names, weights = list(WEIGHTS), list(WEIGHTS.values())
        for step in range(steps):
            name = self.random.choices(names, weights)[0]
            self.history.append(f"{step}: {name} ...")
            try:
                self.history[-1] = f"{step}: {name} {getattr(self, name)()}"
                assert os.fstat(self.fd).st_size == self.size(), "sizes differ"
                if step % compare_every == compare_every - 1:
                    self.compare()
            except (AssertionError, OSError) as error:
                raise AssertionError(f"{error}\n" + "\n".join(self.history)) from None
        self.compare()

    def compare(self) -> None:
        """Compare all bytes, through the page cache and past it."""
        wanted = os.pread(self.ref, self.max_size + 1, 0)
        for how, found in (
            ("buffered", os.pread(self.fd, self.max_size + 1, 0)),
            ("direct", syscalls.direct_read(self.direct, -(-self.max_size // PAGE) * PAGE, 0)),
        ):
            if found != wanted:
                at = first_difference(found, wanted)
                raise AssertionError(
                    f"{how}: byte {at} differs (sizes {len(found)}, {len(wanted)}): "
                    f"found {found[at : at + 16].hex()}, wanted {wanted[at : at + 16].hex()}"
                    "\n" + "\n".join(self.history)
                )


def first_difference(a: bytes, b: bytes) -> int:
    """Index of the first byte in which *a* and *b* differ; the shorter length if none."""
    low, high = 0, min(len(a), len(b))
    if a[:high] == b[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if a[low:middle] != b[low:middle] else (middle, high)
    return low
