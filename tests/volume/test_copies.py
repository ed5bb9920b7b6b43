# SPDX-License-Identifier: MIT
"""Two copies of a superblock: one is enough to read, and one survives every write."""

import os
import struct
from dataclasses import replace

import pytest

from iomapd.errors import MemberError, SuperblockError, UnknownFormatError
from iomapd.volume import copies
from iomapd.volume.copies import end_of, read_superblock, wipe_superblock, write_superblock
from iomapd.volume.superblock import BACKUP_COPY, FIRST_COPY, decode, encode
from tests.volume.builders import SIZE, flip
from tests.volume.test_superblock import resealed


@pytest.fixture
def member(volume):
    """(fd, path, superblock) of the first member."""
    fd = os.open(volume.paths[0], os.O_RDWR)
    yield fd, volume.paths[0], volume.superblock(0)
    os.close(fd)


def test_two_good_copies_need_no_warning(member):
    fd, path, superblock = member
    found = read_superblock(fd, path, SIZE)
    assert (found.superblock, found.served, found.warnings) == (superblock, FIRST_COPY, ())


def test_the_backup_serves_when_the_first_copy_is_damaged(member):
    fd, path, superblock = member
    flip(path, 200)
    found = read_superblock(fd, path, SIZE)
    assert (found.superblock, found.served) == (superblock, BACKUP_COPY)
    (warning,) = found.warnings
    assert str(path) in warning
    assert "CRC32C" in warning
    assert f"the backup at byte {superblock.member.backup} serves" in warning


def test_a_damaged_backup_is_a_warning(member):
    fd, path, superblock = member
    flip(path, superblock.member.backup + 3000)
    found = read_superblock(fd, path, SIZE)
    assert found.served == FIRST_COPY
    assert "backup superblock" in found.warnings[0]


def test_both_copies_damaged_is_refused_with_both_faults(member):
    fd, path, superblock = member
    flip(path, 60)
    flip(path, superblock.member.backup + 60)
    with pytest.raises(SuperblockError) as caught:
        read_superblock(fd, path, SIZE)
    message = str(caught.value)
    assert message.count("CRC32C") == 2
    assert str(path) in message
    assert "\n" not in message


def test_nothing_that_begins_like_a_superblock_is_none(member):
    fd, path, superblock = member
    wipe_superblock(fd, path, [0, superblock.member.backup])
    assert read_superblock(fd, path, SIZE) is None
    assert read_superblock(fd, path, 0) is None


def test_a_backup_that_is_not_at_the_end_is_found_by_a_hint(member):
    fd, path, superblock = member
    os.truncate(path, SIZE + (1 << 20))
    flip(path, 0)
    size = SIZE + (1 << 20)
    assert read_superblock(fd, path, size) is None
    found = read_superblock(fd, path, size, [superblock.member.backup])
    assert found.superblock == superblock


@pytest.mark.parametrize("size", [SIZE, SIZE + 1, SIZE + 4095])
def test_the_last_whole_block_is_the_backup(size):
    assert end_of(size) == SIZE - 4096


def test_a_newer_first_copy_is_not_worked_around_by_the_backup(member):
    fd, path, superblock = member
    newer = resealed(encode(superblock, FIRST_COPY), 12, struct.pack("<I", 2))
    os.pwrite(fd, newer, 0)
    with pytest.raises(UnknownFormatError, match=f"{path.name}.*format version 2"):
        read_superblock(fd, path, SIZE)


def test_a_backup_of_another_member_is_a_warning(volume, member):
    fd, path, superblock = member
    os.pwrite(fd, encode(volume.superblock(1), BACKUP_COPY), superblock.member.backup)
    assert "of another member" in read_superblock(fd, path, SIZE).warnings[0]


def test_a_backup_one_generation_behind_is_what_a_crash_leaves(member):
    fd, path, superblock = member
    os.pwrite(fd, encode(replace(superblock, generation=2), FIRST_COPY), 0)
    found = read_superblock(fd, path, SIZE)
    assert (found.superblock.generation, found.warnings) == (2, ())


@pytest.mark.parametrize("served", [FIRST_COPY, BACKUP_COPY])
def test_a_crash_at_any_write_leaves_a_whole_copy(member, monkeypatch, served):
    """The copy that did not serve is damaged; each write in turn is torn, then the power goes."""
    fd, path, superblock = member
    addresses = {FIRST_COPY: 0, BACKUP_COPY: superblock.member.backup}
    newer = replace(superblock, generation=2)
    real_pwrite = os.pwrite
    for torn in (0, 1):
        for copy in (FIRST_COPY, BACKUP_COPY):
            real_pwrite(fd, encode(superblock, copy), addresses[copy])
        flip(path, addresses[1 - served] + 77)
        writes = []

        def tear(fd_, data, addr, torn=torn, writes=writes):
            writes.append(addr)
            if len(writes) - 1 == torn:
                real_pwrite(fd_, data[:100], addr)
                raise OSError(5, "power cut")
            return real_pwrite(fd_, data, addr)

        monkeypatch.setattr(copies.os, "pwrite", tear)
        with pytest.raises(MemberError, match="power cut"):
            write_superblock(fd, path, newer, served)
        monkeypatch.undo()
        assert read_superblock(fd, path, SIZE).superblock.generation == 1 + torn


def test_each_copy_is_flushed_before_the_next_is_written(member, monkeypatch):
    fd, path, superblock = member
    events = []
    real_pwrite, real_flush = os.pwrite, os.fdatasync
    monkeypatch.setattr(
        copies.os, "pwrite", lambda f, d, a: events.append(a) or real_pwrite(f, d, a)
    )
    monkeypatch.setattr(copies.os, "fdatasync", lambda f: events.append("flush") or real_flush(f))
    write_superblock(fd, path, superblock, FIRST_COPY)
    assert events == [superblock.member.backup, "flush", 0, "flush"]
    assert decode(os.pread(fd, 4096, 0), 0) == superblock


def test_an_unreadable_copy_is_damage(member, monkeypatch):
    fd, path, superblock = member

    def fail_first(fd_, size, addr, read=os.pread):
        if addr == 0:
            raise OSError(5, "Input/output error")
        return read(fd_, size, addr)

    monkeypatch.setattr(copies.os, "pread", fail_first)
    found = read_superblock(fd, path, SIZE)
    assert (found.superblock, found.served) == (superblock, BACKUP_COPY)
    assert "cannot be read (Input/output error)" in found.warnings[0]
