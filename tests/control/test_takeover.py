# SPDX-License-Identifier: MIT
"""What a killed server had acknowledged is there for the next, without a durability point."""

import os
import stat

import pytest

from iomapd.cache.board import SlotBoard
from iomapd.cache.entry import SHRINK
from iomapd.cache.heritage import left_behind
from iomapd.cache.table import Identity
from iomapd.control.mount import ControlPlane
from iomapd.meta.store import Store
from tests.control.conftest import MIB, make_control

OWNER = (0, 0)


class Killed:
    """A control plane with a table in a file, that can be killed and followed by another."""

    def __init__(self, tmp_path):
        first = make_control(tmp_path / "s.db")
        self.members, self.path = first.core.members, first.core.store.path
        self.table = tmp_path / "inodes.table"
        first.core.store.close()
        self.start()

    def start(self, **kwargs):
        store = Store.open(self.path)
        self.control = ControlPlane(
            store, self.members, read_only=False, table=self.table, board=SlotBoard(4), **kwargs
        )
        # Members without superblocks have no generation to move.
        self.control.core.members, members = [], self.control.core.members
        self.control.begin()
        self.control.core.members = members

    def kill(self):
        """End it as kill -9 does: the store's connection closes, nothing else happens."""
        self.control.core.store.close()
        self.start()

    def make(self, name):
        return self.control.names.make(1, name, stat.S_IFREG | 0o644, OWNER)

    def find(self, name):
        return self.control.core.inode(self.control.names.lookup(1, name).ino)

    async def read(self, name):
        inode = self.find(name)
        return bytes(await self.control.files.read(inode, 0, inode.size))


@pytest.fixture
def killed(tmp_path):
    killed = Killed(tmp_path)
    yield killed
    killed.control.core.store.close()
    for member in killed.members:
        member.close()


async def test_acknowledged_writes_survive_a_killed_server(killed):
    data = os.urandom(300_000)
    inode = killed.make(b"f")
    await killed.control.files.write(inode, 0, data)
    await killed.control.files.write(inode, 1_000_000, b"beyond a hole")
    times = inode.mtime_ns, inode.ctime_ns
    killed.kill()
    found = await killed.read(b"f")
    assert found == data.ljust(1_000_000, b"\0") + b"beyond a hole"
    again = killed.find(b"f")
    assert (again.mtime_ns, again.ctime_ns) == times
    # The first point puts it into the store; what a power cut leaves then has it, too.
    await killed.control.points.make_now()
    killed.table.unlink()
    killed.kill()
    assert await killed.read(b"f") == found


async def test_what_a_point_copied_and_did_not_commit_survives(killed, monkeypatch):
    inode = killed.make(b"f")
    await killed.control.files.write(inode, 0, b"x" * 8192)

    async def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(killed.control.points, "_commit", die)
    with pytest.raises(KeyboardInterrupt):
        await killed.control.points.make_now()
    monkeypatch.undo()
    killed.kill()
    assert await killed.read(b"f") == b"x" * 8192


async def test_a_second_kill_before_the_first_point_loses_nothing(killed):
    inode = killed.make(b"f")
    await killed.control.files.write(inode, 0, b"y" * 100_000)
    killed.kill()
    killed.kill()
    assert await killed.read(b"f") == b"y" * 100_000


async def test_truncate_and_unlink_are_not_undone(killed):
    for name in (b"cut", b"gone"):
        inode = killed.make(name)
        await killed.control.files.write(inode, 0, b"z" * 200_000)
    cut = killed.find(b"cut")
    await killed.control.files.truncate(cut, 5000)
    await killed.control.delete(killed.control.names.unlink(1, b"gone"))
    killed.kill()
    assert await killed.read(b"cut") == b"z" * 5000
    assert killed.control.names.lookup(1, b"gone") is None
    cut = killed.find(b"cut")
    await killed.control.files.truncate(cut, 9000)
    assert await killed.read(b"cut") == b"z" * 5000 + bytes(4000)


async def test_a_truncate_that_was_killed_after_its_commit_is_finished(killed, monkeypatch):
    inode = killed.make(b"f")
    await killed.control.files.write(inode, 0, b"w" * MIB)
    monkeypatch.setattr(killed.control.core.marks, "cut", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        await killed.control.files.truncate(inode, 10_000)
    assert inode.words[SHRINK // 8] == 10_000
    killed.kill()
    assert await killed.read(b"f") == b"w" * 10_000
    assert killed.find(b"f").words[SHRINK // 8] == -1


async def test_a_truncate_that_failed_is_not_finished_after_a_kill(killed, monkeypatch):
    inode = killed.make(b"f")
    await killed.control.files.write(inode, 0, b"k" * MIB)
    monkeypatch.setattr(killed.control.core.store.space, "clear_written", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        await killed.control.files.truncate(inode, 10_000)
    killed.kill()
    assert await killed.read(b"f") == b"k" * MIB


async def test_a_table_of_another_generation_is_not_believed(killed):
    inode = killed.make(b"f")
    await killed.control.files.write(inode, 0, b"v" * 4096)
    await killed.control.points.make_now()
    await killed.control.files.write(inode, 0, b"v" * 8192)
    stale = killed.table.read_bytes()
    await killed.control.points.make_now()
    await killed.control.files.truncate(inode, 100)
    killed.kill()  # moves the generation on
    killed.kill()
    killed.table.write_bytes(stale)
    killed.kill()
    assert await killed.read(b"f") == b"v" * 100


def test_any_bytes_in_the_file_are_survived(killed, tmp_path):
    identity = Identity.of(killed.control.core.store.volume.uuid)
    whole = killed.table.read_bytes()[: 3 << 20]
    path = tmp_path / "damaged"
    for size in (0, 1, 4095, 4096, 5000, len(whole)):
        path.write_bytes(whole[:size])
        assert left_behind(path, identity, (0, 10)) == []
    assert left_behind(tmp_path / "absent", identity, (0, 10)) == []


async def test_an_orderly_end_leaves_no_table(killed):
    inode = killed.make(b"f")
    await killed.control.files.write(inode, 0, b"u" * 4096)
    assert killed.table.exists()
    core = killed.control.core
    members, core.members = core.members, []
    await killed.control.end()
    core.members = members
    assert not killed.table.exists()
    killed.start()
