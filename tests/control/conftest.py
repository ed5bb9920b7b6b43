# SPDX-License-Identifier: MIT
"""A control plane without FUSE: a real store, members that are memory files."""

import hashlib
import os
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
import trio

from iomapd.control.mount import ControlPlane
from iomapd.meta.records import LayoutRecord, MemberRecord, ProgramRecord, VolumeRecord
from iomapd.meta.store import Store, create_store

MIB = 1 << 20


class MemoryMember:
    """A member whose bytes rest in a memfd; what `Member` offers, without a superblock."""

    memory_backed = True

    def __init__(self, number, size):
        self.id, self.index, self.uuid = number, number - 1, uuid4()
        self.path = Path(f"/memory/{number}")
        self.data_offset, self.data_size = MIB, size
        self.kind, self.warnings = "file", []
        self.fd = self._open()
        os.ftruncate(self.fd, MIB + size)
        # What lies there from before must never be seen.
        os.pwrite(self.fd, b"\xee" * (MIB + size), 0)

    def _open(self):
        return os.memfd_create(f"member{self.id}")

    def close(self):
        os.close(self.fd)


class FileMember(MemoryMember):
    """A member in a nameless file of *directory*, on whatever file system that is."""

    memory_backed = False

    def __init__(self, number, size, directory):
        self._directory = directory
        super().__init__(number, size)

    def _open(self):
        return os.open(self._directory, os.O_TMPFILE | os.O_RDWR)


RAID0 = (Path(__file__).parents[2] / "programs" / "raid0.py").read_text()


def make_control(
    path, sizes=(8 * MIB,) * 4, unit=65536, strip_min=MIB, width=0, mapper="program", source=RAID0,
    members=None, modes=None,
):  # fmt: skip
    members = members or [MemoryMember(i + 1, size) for i, size in enumerate(sizes)]
    records = [
        MemberRecord(m.id, m.index, m.uuid, str(m.path), m.data_offset, m.data_size)
        for m in members
    ]
    create_store(
        path,
        VolumeRecord(uuid4(), "test", 1),
        records,
        ProgramRecord(1, "raid0", 1, hashlib.sha256(source.encode()).hexdigest(), source),
        LayoutRecord(1, unit, width, strip_min, 1 << 30, 1),
        (0, 0),
    )
    return ControlPlane(Store.open(path), members, read_only=False, mapper=mapper, modes=modes)


def reopened(control):
    """Mount again on the same members, as after a crash of the server."""
    control.core.store.close()
    return ControlPlane(Store.open(control.core.store.path), control.core.members, read_only=False)


@pytest.fixture
def control(tmp_path):
    control = make_control(tmp_path / "s.db")
    yield control
    control.core.store.close()
    for member in control.core.members:
        member.close()


@pytest.fixture
async def live(control, nursery):
    """The control plane with its task that makes durability points."""
    nursery.start_soon(control.points.run)
    return control


@asynccontextmanager
async def point_under_way(live, monkeypatch):
    """Let a point flush the members, and commit when the block is over; later flushes go on."""
    flushed, go_on = trio.Event(), trio.Event()
    flush = live.core.io.flush

    async def slow_flush(members):
        failed = await flush(members)
        if not flushed.is_set():
            flushed.set()
            await go_on.wait()
        return failed

    monkeypatch.setattr(live.core.io, "flush", slow_flush)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live.points.make)
        await flushed.wait()
        yield
        go_on.set()
