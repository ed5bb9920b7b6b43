# SPDX-License-Identifier: MIT
"""Who is accessed how, what is said of it, and what is refused."""

import ctypes
import fcntl
import os

import pytest

from iomapd.dataplane.plane import BUFFERED, DIRECT, MAPPED
from iomapd.errors import MemberError
from iomapd.server import access as subject
from iomapd.server.access import choose
from tests.control.conftest import MIB, FileMember, MemoryMember


@pytest.fixture
def members(tmp_path):
    """Two members in memory, then two in files."""
    made = [MemoryMember(1, MIB), MemoryMember(2, MIB)]
    made += [FileMember(number, MIB, tmp_path) for number in (3, 4)]
    yield made
    for member in made:
        member.close()


def is_direct(member):
    return bool(fcntl.fcntl(member.fd, fcntl.F_GETFL) & os.O_DIRECT)


def test_auto_maps_what_is_in_memory_and_says_so(members):
    found = choose(members)
    assert found.modes == {1: MAPPED, 2: MAPPED, 3: BUFFERED, 4: BUFFERED}
    assert found.sentences() == [
        "members 0-1: mapped: in memory; reads copy straight out of it",
        "members 2-3: buffered: on a device; through the page cache",
    ]
    assert (found.can_block, found.copies) == (True, False)
    found.close()


def test_members_that_are_all_in_memory_are_written_in_their_mappings(members):
    found = choose(members[:2])
    assert (found.can_block, found.copies) == (False, True)
    assert found.sentences() == [
        "members 0-1: mapped: in memory; reads copy straight out of it, writes into it"
    ]
    ctypes.memset(found.members[0].map_addr + 7, 0x55, 1)
    assert os.pread(members[0].fd, 1, members[0].data_offset + 7) == b"\x55"
    found.close()


def test_where_a_process_must_not_copy_its_own_memory_writes_are_pwritev(members, monkeypatch):
    monkeypatch.setattr(subject, "process_vm_readv", lambda *call: -1)
    found = choose(members[:2])
    assert not found.copies
    assert found.sentences() == ["members 0-1: mapped: in memory; reads copy straight out of it"]
    found.close()


def test_members_open_for_reading_are_mapped_for_reading(members):
    path = f"/proc/self/fd/{members[0].fd}"
    members[0].fd, writable = os.open(path, os.O_RDONLY), members[0].fd
    found = choose(members[:1])
    assert not found.copies
    assert found.modes == {1: MAPPED}
    found.close()
    os.close(writable)


def test_a_mapping_is_the_data_area(members):
    found = choose(members)
    os.pwrite(members[1].fd, b"here", members[1].data_offset + 5000)
    second = found.members[1]
    assert (second.map_size, second.data_offset, second.bit) == (MIB, MIB, 1)
    assert ctypes.string_at(second.map_addr + 5000, 4) == b"here"
    found.close()
    found.close()


@pytest.mark.parametrize(("wanted", "mode"), [("mapped", MAPPED), ("buffered", BUFFERED)])
def test_what_is_asked_for_is_done(members, wanted, mode):
    found = choose(members, wanted)
    assert set(found.modes.values()) == {mode}
    found.close()


def test_devices_are_mapped_in_part_beyond_a_bound(members, monkeypatch):
    monkeypatch.setattr(subject, "WINDOWS", MIB + 5000)
    found = choose(members, "mapped")
    assert [m.map_size for m in found.members] == [MIB, MIB, 524288, 524288]
    assert found.sentences()[1] == (
        "members 2-3: mapped: asked for; the first 512KiB mapped, preadv beyond"
    )
    found.close()


def test_direct_is_for_everybody_who_uses_the_member(members):
    found = choose(members[2:], "direct")
    assert set(found.modes.values()) == {DIRECT}
    assert [m.fd for m in found.members] == [m.fd for m in members[2:]]
    assert all(is_direct(member) for member in members[2:])


def test_a_member_that_takes_no_o_direct_is_refused_in_one_sentence(members):
    """A memory file without a name takes none."""
    with pytest.raises(MemberError, match="/memory/1: takes no O_DIRECT") as caught:
        choose(members, "direct")
    assert "\n" not in str(caught.value)
    assert "io=buffered" in str(caught.value)


def test_larger_sectors_than_a_block_are_refused_for_direct(members, monkeypatch):
    def refuse(fd, views, addr):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "preadv", refuse)
    with pytest.raises(MemberError, match="blocks of 4096 bytes"):
        choose(members[2:], "direct")


def test_a_bad_sector_where_o_direct_is_tried_refuses_nothing(members, monkeypatch):
    def fail(fd, views, addr):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv", fail)
    assert choose(members[2:], "direct").modes == {3: DIRECT, 4: DIRECT}


def test_what_cannot_be_mapped_is_refused_when_asked_for_and_buffered_by_auto(members, monkeypatch):
    made, real = [], subject.FileView

    def view(*what, **how):
        if len(made) == 1:
            raise OSError(12, "Cannot allocate memory")
        made.append(real(*what, **how))
        return made[0]

    monkeypatch.setattr(subject, "FileView", view)
    found = choose(members)
    assert found.modes == {1: MAPPED, 2: BUFFERED, 3: BUFFERED, 4: BUFFERED}
    assert "cannot be mapped (Cannot allocate memory)" in found.reasons[2]
    found.close()
    made.clear()
    with pytest.raises(MemberError, match="1MiB cannot be mapped: Cannot allocate memory"):
        choose(members, "mapped")
    assert made[0].addr == 0, "a mapping was left behind"
