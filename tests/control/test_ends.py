# SPDX-License-Identifier: MIT
import pytest

from iomapd.errors import MemberError
from tests.control.conftest import MIB, RAID0

COUNTING = (
    RAID0.replace(
        "def iomap_begin",
        'COUNTERS = ("reads", "writes", "bytes", "failed", "io")\n\n\ndef iomap_begin',
    )
    + """

def iomap_end(ctx):
    if ctx.opflags == 1:
        ctx.writes = 1
    else:
        ctx.reads = 1
    if ctx.written < 0:
        ctx.failed = 1
    else:
        ctx.bytes = ctx.written
    return HANDLED


def iomap_ioend(ctx):
    ctx.io = 1
    return HANDLED
"""
)


async def counted(live, **changes):
    await live.layouts.set(live.core.inode(1), program="counting", source=COUNTING, **changes)
    return live.names.make(1, b"f", 0o100644, (0, 0))


def counters(live):
    ((name, found),) = live.core.ends.describe().items()
    assert name.startswith("counting@")
    return found


async def test_a_program_hears_of_reads_and_writes(live):
    inode = await counted(live)
    await live.files.write(inode, 0, b"x" * MIB)
    await live.files.write(inode, 0, b"y" * 4096)
    await live.files.read(inode, 0, 10_000)
    assert counters(live) == {
        "reads": 1, "writes": 2, "bytes": MIB + 4096 + 10_000, "failed": 0, "io": 1,
    }  # fmt: skip


async def test_a_program_hears_of_failed_writes(live, monkeypatch):
    inode = await counted(live)
    await live.files.write(inode, 0, b"x" * MIB)

    async def fail(runs, buffer):
        raise MemberError("planted")

    monkeypatch.setattr(live.core.io, "write", fail)
    with pytest.raises(MemberError):
        await live.files.write(inode, 0, b"y" * 4096)
    found = counters(live)
    assert (found["failed"], found["io"]) == (1, 2)


async def test_programs_without_ends_cost_nothing(live):
    inode = live.names.make(1, b"f", 0o100644, (0, 0))
    await live.files.write(inode, 0, b"x" * MIB)
    assert live.core.ends.describe() == {}
