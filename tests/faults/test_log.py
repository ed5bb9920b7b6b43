# SPDX-License-Identifier: MIT
"""Logs of writes: what is written is read back, and others' tools can replay it."""

import struct
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.log import MARK_MAX, SECTOR, Clock, Flag, Kind, LogWriter, read_log

WRITES = st.lists(st.tuples(st.integers(0, 3000), st.binary(min_size=1, max_size=2000)))


class Written:
    """A file in memory and the log of what is done to it."""

    def __init__(self, path, clock=None):
        self.content = bytearray()
        self.log = LogWriter(path, clock or Clock(), lambda n, at: bytes(self.content[at : at + n]))

    def write(self, offset, data, **how):
        self.content.extend(bytes(max(0, offset + len(data) - len(self.content))))
        self.content[offset : offset + len(data)] = data
        self.log.write(offset, data, **how)


@pytest.fixture
def written(tmp_path):
    written = Written(tmp_path / "a.log")
    yield written
    written.log.close()


def replayed(path):
    """The file that replay-log makes: after src/log-writes/log-writes.c of xfstests."""
    log, image = BytesIO(path.read_bytes()), bytearray()
    magic, version, count, sector_size = struct.unpack("<QQQI", log.read(28))
    assert (magic, version) == (0x6A736677736872, 1)
    log.seek(sector_size)
    for _ in range(count):
        header = log.read(sector_size)
        sector, nr_sectors, flags, _ = struct.unpack_from("<QQQQ", header)
        # Its log_entry_valid: no empty entry, and no bytes after a header but a mark's.
        assert flags or nr_sectors
        assert flags == Flag.MARK or not header[32]
        start, length = sector * sector_size, nr_sectors * sector_size
        image.extend(bytes(max(0, start + length - len(image))))
        image[start : start + length] = log.read(length)
    assert not log.read()
    return bytes(image)


@given(writes=WRITES)
def test_a_replay_by_the_format_s_rules_makes_the_file(tmp_path_factory, writes):
    written = Written(tmp_path_factory.mktemp("log") / "a.log")
    for offset, data in writes:
        written.write(offset, data)
        written.log.flush()
    written.log.mark("end")
    written.log.close()
    padded = bytes(written.content) + bytes(-len(written.content) % SECTOR)
    assert replayed(written.log.path) == padded


def test_entries_say_what_was_done_to_the_byte(written):
    written.write(0, b"a" * 1000)
    written.write(600, b"b" * 10, durable=True)
    written.log.flush()
    written.log.truncate(77)
    written.log.mark("acknowledged 1")
    first, second, flush, truncate, mark = read_log(written.log.path)
    assert (first.sector, first.offset, first.length, first.end) == (0, 0, 1000, 1000)
    assert first.data == b"a" * 1000 + bytes(24)
    assert (second.sector, second.nr_sectors, second.flags) == (1, 1, Flag.FUA)
    assert second.data == b"a" * 88 + b"b" * 10 + b"a" * 390 + bytes(24)
    assert (flush.kind, flush.flags, flush.data) == (Kind.FLUSH, Flag.FLUSH, b"")
    assert (truncate.kind, truncate.offset, truncate.mark) == (Kind.TRUNCATE, 77, "truncate 77")
    assert (mark.kind, mark.flags, mark.mark) == (Kind.MARK, Flag.MARK, "acknowledged 1")


def test_sequence_numbers_order_the_entries_of_all_logs(tmp_path):
    clock = Clock()
    one, two = Written(tmp_path / "1.log", clock), Written(tmp_path / "2.log", clock)
    for written in (one, two, two, one):
        written.write(0, b"x")
    sequence = clock.tick()
    for written in (one, two):
        written.log.mark("at once", sequence=sequence)
        written.log.close()
    assert [e.sequence for e in read_log(tmp_path / "1.log")] == [1, 4, 5]
    assert [e.sequence for e in read_log(tmp_path / "2.log")] == [2, 3, 5]


def test_a_log_is_whole_after_every_entry(written):
    for count in range(1, 4):
        written.write(0, b"x")
        assert len(read_log(written.log.path)) == count


def test_a_write_of_nothing_is_no_entry(written):
    written.write(5, b"")
    assert read_log(written.log.path) == []


def test_a_mark_fits_into_its_header_s_sector(written):
    written.log.mark("x" * MARK_MAX)
    with pytest.raises(ValueError, match="at most 479"):
        written.log.mark("é" * 240)
    (mark,) = read_log(written.log.path)
    assert mark.mark == "x" * 479


def test_a_moved_log_goes_on(written, tmp_path):
    written.write(0, b"x")
    written.log.move(tmp_path / "b.log")
    written.log.flush()
    assert [e.kind for e in read_log(tmp_path / "b.log")] == [Kind.WRITE, Kind.FLUSH]
    assert not (tmp_path / "a.log").exists()


def test_what_is_no_log_is_refused(tmp_path):
    (tmp_path / "a.log").write_bytes(b"\1" * SECTOR)
    with pytest.raises(ValueError, match="not a log"):
        read_log(tmp_path / "a.log")
