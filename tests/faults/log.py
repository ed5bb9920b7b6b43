# SPDX-License-Identifier: MIT
"""What was done to a file, in order and with its bytes, in the format of dm-log-writes.

    sector 0     superblock <QQQI: MAGIC, version 1, number of entries, sector size
    then, for each entry
      1 sector   header <QQQQ: sector, nr_sectors, flags, data_len; a mark's text follows it
      nr_sectors the bytes written

Facts: drivers/md/dm-log-writes.c of the kernel, and src/log-writes of xfstests, whose
replay-log replays these logs onto a plain file (``--replay``, ``--limit``, ``--find``,
``--end-mark``, ``--fsck ... --check flush``).  What it then has made is the file's bytes,
rounded up to a sector.  It knows no file sizes and no names, so a truncate is a mark to
it: after a file was shortened its image keeps what was cut off.

A header has no room for what a file needs beyond a disk, so ``LOG.exact`` holds one
record <QQQQ per entry: sequence number, kind, offset and length in bytes.  Sequence
numbers count over all logs of a recording; one number is one instant of all devices.
"""

from __future__ import annotations

import enum
import errno
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECTOR = 512
MAGIC = 0x6A736677736872
VERSION = 1
MARK_MAX = SECTOR - 32 - 1  # the header before it, and the NUL that replay-log compares up to

_SUPER = struct.Struct("<QQQI")
_HEADER = struct.Struct("<QQQQ")
_EXACT = struct.Struct("<QQQQ")


class Flag(enum.IntFlag):
    """Flags of an entry, as dm-log-writes numbers them."""

    FLUSH = 1  # everything before it in this log is durable
    FUA = 2  # durable itself, whatever else is
    DISCARD = 4
    MARK = 8


class Kind(enum.IntEnum):
    """What an entry was to the file system; all but WRITE and FLUSH are marks to other tools."""

    WRITE = 1
    FLUSH = 2
    MARK = 3  # text of the test's choice
    TRUNCATE = 4  # offset is the new size
    NAME = 5  # of a directory: "create NUMBER NAME", "unlink NAME", "rename OLD NEW"
    FILE = 6  # the first entry of a file's log: "file NUMBER"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing done to one file.

    Attributes:
        sequence: its number among the entries of all logs; marks set together share one.
        sector: first sector written.
        flags: of `Flag`.
        data: whole sectors; beyond what was written, what the file held.
        mark: text of a mark, else empty.
        kind: what it was.
        offset: first byte written, or the new size of a truncate.
        length: bytes written, without the widening.
    """

    sequence: int
    sector: int
    flags: int
    data: bytes = b""
    mark: str = ""
    kind: Kind = Kind.WRITE
    offset: int = 0
    length: int = 0

    @property
    def end(self) -> int:
        """One past the last byte written; the file is at least that long afterwards."""
        return self.offset + self.length

    @property
    def nr_sectors(self) -> int:
        """Sectors written."""
        return len(self.data) // SECTOR


class LostEntryError(Exception):
    """A log could not be written: what it says is no longer what was done."""


class Clock:
    """Numbers the entries of many logs."""

    def __init__(self) -> None:
        self.now = 0

    def tick(self) -> int:
        """Return the next sequence number."""
        self.now += 1
        return self.now


class LogWriter:
    """Appends to one log; the file is a whole log after every entry."""

    def __init__(self, path: Path, clock: Clock, held: Callable[[int, int], bytes]) -> None:
        """Begin a log.

        Args:
            path: the log; ``path.exact`` is made beside it.
            clock: shared by the logs of a recording.
            held: ``held(length, offset)`` reads what the file holds, short at its end;
                asked after a write was done, for the rest of its first and last sector.
        """
        self.path = path
        self._clock = clock
        self._held = held
        self._count, self._end = 0, SECTOR
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o600)
        self._exact = os.open(_beside(path), flags, 0o600)
        os.write(self._fd, _SUPER.pack(MAGIC, VERSION, 0, SECTOR).ljust(SECTOR, b"\0"))

    def write(self, offset: int, data: bytes, *, durable: bool = False) -> None:
        """Log *data*, which the file holds at *offset* by now; *durable* as by O_DSYNC."""
        if not data:
            return
        start, end = offset - offset % SECTOR, offset + len(data)
        head = self._held(offset - start, start) if start < offset else b""
        missing = -end % SECTOR
        tail = self._held(missing, end).ljust(missing, b"\0") if missing else b""
        sectors = (start // SECTOR, (end + missing - start) // SECTOR)
        flags = Flag.FUA if durable else Flag(0)
        exact = (self._clock.tick(), Kind.WRITE, offset, len(data))
        self._append(sectors, flags, (head, data, tail), exact)

    def flush(self) -> None:
        """Log that all before it is durable."""
        self._append((0, 0), Flag.FLUSH, (), (self._clock.tick(), Kind.FLUSH, 0, 0))

    def truncate(self, size: int) -> None:
        """Log a new size of the file, bytes."""
        self.mark(f"truncate {size}", Kind.TRUNCATE, offset=size)

    def mark(
        self, text: str, kind: Kind = Kind.MARK, sequence: int | None = None, offset: int = 0
    ) -> None:
        """Log a text of at most `MARK_MAX` bytes; *sequence* is for marks set together.

        Raises:
            ValueError: the text is too long.
        """
        encoded = text.encode()
        if len(encoded) > MARK_MAX:
            raise ValueError(f"a mark of {len(encoded)} bytes; at most {MARK_MAX} fit")
        number = self._clock.tick() if sequence is None else sequence
        self._append((0, 0), Flag.MARK, (), (number, kind, offset, 0), encoded)

    def _append(
        self,
        sectors: tuple[int, int],
        flags: Flag,
        data: tuple[bytes, ...],
        exact: tuple[int, int, int, int],
        text: bytes = b"",
    ) -> None:
        header = (_HEADER.pack(*sectors, flags, len(text)) + text).ljust(SECTOR, b"\0")
        length = SECTOR * (1 + sectors[1])
        try:
            if os.pwritev(self._fd, [header, *data], self._end) != length:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.pwrite(self._exact, _EXACT.pack(*exact), self._count * _EXACT.size)
            os.pwrite(self._fd, _SUPER.pack(MAGIC, VERSION, self._count + 1, SECTOR), 0)
        except OSError as exc:
            raise LostEntryError(f"{self.path}: {exc.strerror}") from exc
        self._count += 1
        self._end += length

    def move(self, path: Path) -> None:
        """Give the log another name, where none is."""
        _beside(self.path).rename(_beside(path))
        self.path = self.path.rename(path)

    def close(self) -> None:
        """Close the log; it is whole already."""
        os.close(self._fd)
        os.close(self._exact)


def read_log(path: Path) -> list[Entry]:
    """Read a log of a `LogWriter`.

    Raises:
        ValueError: it is none.
    """
    log = path.read_bytes()
    magic, version, count, sector_size = _SUPER.unpack_from(log)
    if (magic, version, sector_size) != (MAGIC, VERSION, SECTOR):
        raise ValueError(f"{path}: not a log of writes, or not of sectors of {SECTOR} bytes")
    # A log that is being written may have one more record here than entries.
    records = _beside(path).read_bytes()[: count * _EXACT.size]
    entries, at = [], SECTOR
    for sequence, kind, offset, length in _EXACT.iter_unpack(records):
        sector, nr_sectors, flags, text_length = _HEADER.unpack_from(log, at)
        text = log[at + _HEADER.size : at + _HEADER.size + text_length]
        at += SECTOR
        end = at + (0 if flags & Flag.DISCARD else nr_sectors * SECTOR)
        mark = text.decode()
        entries.append(
            Entry(sequence, sector, flags, log[at:end], mark, Kind(kind), offset, length)
        )
        at = end
    return entries


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".exact")
