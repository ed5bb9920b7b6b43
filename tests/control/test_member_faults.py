# SPDX-License-Identifier: MIT
"""Members that fail: the error reaches whom it concerns, names its place, and harms nobody else."""

import errno
import os

import pytest

from iomapd.control import report
from iomapd.errors import MemberError
from tests.control.conftest import MIB, reopened
from tests.control.faulty import Faulty
from tests.mounted import tagged

OWNER = (0, 0)


@pytest.fixture
def faulty(monkeypatch):
    return Faulty(monkeypatch)


async def new_file(live, name, length=2 * MIB):
    inode = live.names.make(1, name, 0o100644, OWNER)
    await live.files.write(inode, 0, tagged.content(inode.ino, length))
    return inode


async def check(live, inode, length=2 * MIB):
    data = bytes(await live.files.read(inode, 0, length))
    assert len(data) == length
    tagged.check(data, inode.ino)


def place_of(live, inode, pos):
    """Member and address of a file position."""
    ((number, addr, _, _),) = live.core.mapper.pieces(inode.ino, pos, pos + 4096)
    return next(m for m in live.core.members if m.id == number), addr


def counters(live, member):
    told = report.statistics(live.core, live.points)["members"]
    return next(m for m in told if m["index"] == member.index)


async def test_an_unreadable_range_is_an_error_for_its_file_and_nobody_else(live, faulty, caplog):
    hurt, well = await new_file(live, b"hurt"), await new_file(live, b"well")
    member, addr = place_of(live, hurt, MIB)
    faulty.fail(member, addr, addr + 4096)
    with pytest.raises(MemberError, match=f"read at {member.data_offset + addr}: Input/output"):
        await live.files.read(hurt, 0, 2 * MIB)
    await check(live, well)
    # Other bytes of the same file, before and behind.
    for pos in (0, MIB + 4096):
        tagged.check(bytes(await live.files.read(hurt, pos, 65536 - 4096)), hurt.ino, pos)
    told = counters(live, member)
    assert told["errors"] == 1
    assert told["path"] == str(member.path)
    assert told["last_error"] == f"read at {member.data_offset + addr}: Input/output error"
    assert f"member {member.path}: {told['last_error']}" in caplog.text


@pytest.mark.parametrize("most", [1, 511, 4097, 100_000])
async def test_short_reads_and_writes_are_continued(live, faulty, most):
    faulty.short = most
    length = 16384 if most == 1 else MIB
    inode = await new_file(live, b"f", length)
    await live.files.write(inode, 5000, b"in the middle of a block")
    data = bytearray(await live.files.read(inode, 0, length))
    assert data[5000:5024] == b"in the middle of a block"
    data[4096:8192] = tagged.block(inode.ino, 4096)
    tagged.check(bytes(data), inode.ino)
    assert faulty.calls > length // most


async def test_a_failed_write_marks_nothing_and_can_be_repeated(live, faulty):
    inode = live.names.make(1, b"f", 0o100644, OWNER)
    other = await new_file(live, b"other")
    for member in live.core.members[:2]:
        faulty.fail(member)
    with pytest.raises(MemberError, match=r"write at .* Input/output error"):
        await live.files.write(inode, 0, tagged.content(inode.ino, MIB))
    assert inode.size == 0
    assert not live.files.marks(inode)
    faulty.bad.clear()
    await live.points.sync_inode(inode, data_only=False)
    await live.files.write(inode, 0, tagged.content(inode.ino, MIB))
    await check(live, inode, MIB)
    await check(live, other)


async def test_a_write_that_failed_half_way_never_shows_what_lay_there(live, faulty):
    """Extents are there, some units were written, none is marked: the file reads as before."""
    inode = await new_file(live, b"f", 65536)
    faulty.fail(live.core.members[2])
    with pytest.raises(MemberError):
        await live.files.write(inode, 65536, tagged.content(inode.ino, 4 * MIB, 65536))
    faulty.bad.clear()
    assert inode.size == 65536
    await live.files.truncate(inode, 2 * MIB)
    data = bytes(await live.files.read(inode, 0, 2 * MIB))
    tagged.check(data[:65536], inode.ino)
    assert not any(data[65536:])


async def test_an_image_whose_host_is_full_says_so(live, faulty):
    inode = live.names.make(1, b"f", 0o100644, OWNER)
    for member in live.core.members:
        faulty.fail(member, number=errno.ENOSPC)
    with pytest.raises(MemberError, match="No space left") as caught:
        await live.files.write(inode, 0, bytes(MIB))
    assert caught.value.errno == errno.ENOSPC
    # A device is never full: it has ended.
    for member in live.core.members:
        member.kind = "block"
    with pytest.raises(MemberError, match="No space left") as caught:
        await live.files.write(inode, 0, bytes(MIB))
    assert caught.value.errno == errno.EIO


async def test_a_member_that_shrank_is_an_error_and_not_zeros(live):
    hurt = await new_file(live, b"hurt", 4 * MIB)
    member = live.core.members[1]
    os.ftruncate(member.fd, member.data_offset)
    with pytest.raises(MemberError, match="the member ends here"):
        await live.files.read(hurt, 0, 4 * MIB)
    assert counters(live, member)["errors"] == 1


async def test_a_failed_flush_is_counted_told_and_survives_no_remount(live, faulty, caplog):
    inode = await new_file(live, b"f")
    member = live.core.members[0]
    faulty.flushes[member.fd] = errno.EIO
    for _ in range(3):
        with pytest.raises(OSError, match="could not be made durable"):
            await live.points.sync_inode(inode, data_only=False)
    told = counters(live, member)
    assert told["errors"] == 1, "the kernel is not asked again: it would say yes"
    assert told["last_error"].startswith("flush failed: Input/output error")
    assert f"member {member.path}: flush failed" in caplog.text
    assert [m["status"] for m in report.info(live.core)["members"]].count("flush failed") == 1
    faulty.flushes.clear()
    again = reopened(live)
    found = again.core.inode(inode.ino)
    # What was never made durable is not there, and nobody else's bytes are.
    assert not any(bytes(await again.files.read(found, 0, 2 * MIB)))
    live.core.store = again.core.store  # closed by the fixture


async def test_a_point_with_a_failing_member_still_serves_the_others(live, faulty):
    hurt = await new_file(live, b"hurt", 4 * MIB)
    well = live.names.make(1, b"well", 0o100644, OWNER)
    await live.files.write(well, 0, tagged.content(well.ino, 4096))
    (number,) = live.core.members_of(well.touched)
    bad = next(m for m in live.core.members if m.id != number)
    faulty.flushes[bad.fd] = errno.EIO
    with pytest.raises(OSError, match="could not be made durable"):
        await live.points.sync_inode(hurt, data_only=False)
    await live.points.sync_inode(well, data_only=False)
    assert live.core.store.space.written(well.ino) == [(0, 4096)]
    assert live.core.store.space.written(hurt.ino) == []
