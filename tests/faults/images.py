# SPDX-License-Identifier: MIT
"""One recorded file as a power cut leaves it: a durable part, and what is kept beyond it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.faults.log import SECTOR, Entry, Flag, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

CHUNK = 1 << 16
"""Bytes: what is not touched stays a hole of the image, in pieces of this size."""


def number_of(log: Sequence[Entry]) -> int:
    """The number by which the directory's log speaks of the file."""
    assert log[0].kind == Kind.FILE, "the log of a file begins with its number"
    return int(log[0].mark.split(" ")[1])


def settled(log: Sequence[Entry], start: int, end: int) -> frozenset[int]:
    """Indexes in ``[start, end)`` of what is durable without a flush.

    That is what was written with O_DSYNC, and every truncate before it: a truncate is
    ordered with the writes of its file.
    """
    indexes = range(start, end)
    durable = [index for index in indexes if log[index].flags & Flag.FUA]
    last = durable[-1] if durable else start
    truncates = [i for i in indexes if log[i].kind == Kind.TRUNCATE and i < last]
    return frozenset(durable + truncates)


class Image:
    """The durable content of a file, moved forward along its log."""

    def __init__(self, log: Sequence[Entry]) -> None:
        self._log = log
        self._begin()

    def _begin(self) -> None:
        self._done = 0  # entries that are part of the content
        self._content = bytearray()
        self._touched: set[int] = set()

    def advance(self, index: int) -> None:
        """Make all entries before *index* durable; back to an earlier one costs a new beginning."""
        if index < self._done:
            self._begin()
        for entry in self._log[self._done : index]:
            self._apply(entry)
        self._done = index

    def _apply(self, entry: Entry) -> None:
        content = self._content
        if entry.kind == Kind.TRUNCATE:
            self._resize(entry.offset)
        elif entry.kind == Kind.WRITE:
            if entry.end > len(content):
                self._resize(entry.end)
            start = entry.sector * SECTOR
            data = clipped(entry, len(content))
            content[start : start + len(data)] = data
            self._touched.update(range(start // CHUNK, (start + len(data) - 1) // CHUNK + 1))

    def _resize(self, size: int) -> None:
        if size < len(self._content):
            del self._content[size:]
            self._touched = {chunk for chunk in self._touched if chunk * CHUNK < size}
        else:
            self._content.extend(bytes(size - len(self._content)))

    def write_to(
        self,
        path: Path,
        end: int,
        kept: frozenset[int],
        torn: Mapping[int, frozenset[int]],
    ) -> None:
        """Make the file: what is durable, and of the entries up to *end* what is *kept*.

        Args:
            path: where; not there yet.
            end: one past the last entry that happened.
            kept: indexes of entries; what is `settled` is there in any case, and whole.
            torn: index -> the sectors that are there of it.
        """
        durable = settled(self._log, self._done, end)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            size = len(self._content)
            os.ftruncate(fd, size)
            with memoryview(self._content) as content:
                for start, stop in runs(sorted(self._touched)):
                    os.pwrite(fd, content[start * CHUNK : stop * CHUNK], start * CHUNK)
            for index in range(self._done, end):
                if index in durable:
                    size = _overlay(fd, self._log[index], size, None)
                elif index in kept:
                    size = _overlay(fd, self._log[index], size, torn.get(index))
        finally:
            os.close(fd)


def _overlay(fd: int, entry: Entry, size: int, sectors: frozenset[int] | None) -> int:
    """Write *entry*, or *sectors* of it, into a file of *size* bytes; return its new size."""
    if entry.kind == Kind.TRUNCATE:
        os.ftruncate(fd, entry.offset)
        return entry.offset
    there = range(entry.nr_sectors) if sectors is None else sorted(sectors)
    if not there:
        return size
    start = entry.sector * SECTOR
    size = max(size, min(entry.end, start + (there[-1] + 1) * SECTOR))
    data = memoryview(clipped(entry, size))
    for first, stop in runs(there):
        os.pwrite(fd, data[first * SECTOR : stop * SECTOR], start + first * SECTOR)
    return size


def clipped(entry: Entry, size: int) -> bytes:
    """The data of a write without what lies beyond *size*: a sector may be wider than its file."""
    return entry.data[: size - entry.sector * SECTOR]


def runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Join ascending *numbers* to ranges ``[start, stop)``."""
    start = stop = -1
    for number in numbers:
        if number != stop:
            if stop > start:
                yield start, stop
            start = number
        stop = number + 1
    if stop > start:
        yield start, stop
