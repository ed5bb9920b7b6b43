# SPDX-License-Identifier: MIT
"""A lane that comes at the worst instant, with each rule that keeps it harmless, and without.

The control plane is a real one; the lane is `serve`, interpreted and called where a thread might
have been.  A test names what is seen when its rule is left out, and shows it.
"""

import socket
import stat
import struct
import threading
from array import array

import pytest
import trio

from iomapd.cache.board import SlotBoard
from iomapd.control.room import Room
from iomapd.control.slowpath import FILE_END as LAST_END
from iomapd.dataplane import plane as planes
from iomapd.dataplane import request as requests
from iomapd.dataplane import runs, serve
from iomapd.dataplane.plane import BUFFERED, MemberAccess, Plane
from iomapd.native.memory import copy, load64, store64
from tests.control.conftest import make_control
from tests.mounted.plants import without_hold, without_order, without_slots

SIZE = 64 << 10
OWN, OTHER, LATE = b"o", b"x", b"l"
READ, WRITE = 15, 16
IO = {READ: "preadv", WRITE: "pwritev"}
PATIENCE_S = 0.3  # a lane leaves when the test says so, and no sooner


class Lane:
    """Serves requests in threads of its own, and takes misses to nobody.

    Attributes:
        arrived: set when a thread is about to do the member I/O that `stop_at` named.
        go: lets it do that.
    """

    def __init__(self, control):
        core = control.core
        members = [
            MemberAccess(m.id, m.fd, m.data_offset, m.data_size, m.index, BUFFERED, 0, 0)
            for m in core.members
        ]
        self.plane = Plane(members, nr_lanes=1, requests_per_lane=2)
        self.kernel, self.dev = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for word, value in (
            (planes.ENTRIES, core.shared.entries), (planes.NR_BUCKETS, core.shared.nr_buckets),
            (planes.FLAGS, planes.NO_ATIME), (planes.STRATEGY, planes.BY_PROGRAM),
            (planes.FILE_END, LAST_END), (planes.DEV, self.dev.fileno()),
        ):  # fmt: skip
            self.plane.set(word, value)
        self.board = SlotBoard(self.plane.nr_requests, self.plane.get(planes.SLOTS))
        self.arrived, self.go = threading.Event(), threading.Event()
        self._threads, self.status = [], None

    def stop_at(self, monkeypatch, name):
        """Let the next call of *name* in runs.py wait for `go`."""
        original, pending = getattr(runs, name), [True]

        def wait(*args):
            if pending:
                pending.clear()
                self.arrived.set()
                assert self.go.wait(20)
            return original(*args)

        monkeypatch.setattr(runs, name, wait)

    def ask(self, opcode, ino, size, data=b"", *, number=0):
        """Serve a request of the first *size* bytes; its status."""
        body = struct.pack("<QQIIQII", 1, 0, size, 0, 0, 0, 0) + data
        message = struct.pack("<IIQQIIIHH", 40 + len(body), opcode, 2, ino, 0, 0, 0, 0, 0) + body
        request, words = self.plane.request(number), array("b", message)
        store64(request + requests.STATE, requests.BUSY)
        store64(request + requests.COOKIE, requests.NO_COOKIE)
        store64(request + requests.LENGTH, len(message))
        copy(load64(request + requests.MESSAGE), words.buffer_info()[0], len(message))
        return serve.serve(self.plane.addr, request, self.plane.statistics_block(0))

    def begin(self, *request):
        """Serve a request beside everybody; returns when it waits in its I/O, or is over."""

        def run():
            self.status = self.ask(*request)
            self.arrived.set()

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()
        assert self.arrived.wait(20)

    def finish(self):
        """Let it go on; its status."""
        self.go.set()
        for thread in self._threads:
            thread.join()
        return self.status

    def answer(self):
        """The bytes of the last reply."""
        data = self.kernel.recv(2 << 20)
        assert struct.unpack_from("<i", data, 4) == (0,)
        return data[16:]

    def close(self):
        self.finish()
        self.kernel.close()
        self.dev.close()


@pytest.fixture
async def world(tmp_path, nursery):
    """A control plane with its points, and a lane on its members."""
    control = make_control(tmp_path / "s.db", sizes=(1 << 20,), strip_min=SIZE)
    lane = Lane(control)
    for part in (control.core.gate, control.core.table, control.core.publisher):
        part._board = lane.board
    nursery.start_soon(control.points.run)
    yield control, lane
    lane.close()
    nursery.cancel_scope.cancel()
    control.core.store.close()
    for member in control.core.members:
        member.close()


def new_file(control, name):
    return control.names.make(1, name, stat.S_IFREG | 0o644, (0, 0))


def publish(control, inode):
    control.core.learn_capability(inode)
    assert control.core.publisher.publish(inode, 0)


async def full_file(control):
    """A file that lanes know, and that is full of its own bytes."""
    inode = new_file(control, b"own")
    await control.files.write(inode, 0, OWN * SIZE)
    publish(control, inode)
    return inode


async def reuse_all(control):
    """Make what was freed free, and give every byte of it to another file; return that."""
    await control.points.make()
    inode = new_file(control, b"other")
    await control.files.write(inode, 0, OTHER * control.core.space.free)
    assert not control.core.space.free
    return inode


async def seen_by(control, lane, opcode, other):
    """Whether the late request read what is another's now, or wrote over it."""
    lane.finish()
    if opcode == READ:
        return OTHER in lane.answer()
    return LATE in bytes(await control.files.read(other, 0, other.size))


def rule(function):
    """Run a test with its rule, and without."""
    return pytest.mark.parametrize("kept", [True, False], ids=["kept", "left-out"])(function)


both = pytest.mark.parametrize("opcode", [READ, WRITE], ids=["read", "write"])


@rule
@both
async def test_hold(world, monkeypatch, opcode, kept):
    """A lane comes when nobody shows the inode any more, and is in its I/O when all is over."""
    control, lane = world
    inode = await full_file(control)
    if not kept:
        without_hold(monkeypatch)
    lane.stop_at(monkeypatch, IO[opcode])
    cut = Room.cut

    def lane_comes(*args):
        lane.begin(opcode, inode.ino, SIZE, LATE * SIZE)
        return cut(*args)

    monkeypatch.setattr(Room, "cut", lane_comes)
    await control.files.truncate(inode, 0)
    monkeypatch.setattr(Room, "cut", cut)
    other = await reuse_all(control)
    if kept:
        assert lane.finish() == requests.FORWARD_HELD
    else:
        assert await seen_by(control, lane, opcode, other)


@rule
@both
async def test_slots(world, monkeypatch, opcode, kept):
    """A lane is in its I/O when a truncate comes."""
    control, lane = world
    inode = await full_file(control)
    if not kept:
        without_slots(monkeypatch)
    lane.stop_at(monkeypatch, IO[opcode])
    lane.begin(opcode, inode.ino, SIZE, LATE * SIZE)
    with trio.move_on_after(PATIENCE_S) as patience:
        await control.files.truncate(inode, 0)
    assert patience.cancelled_caught == kept, "the truncate waits for the lane, or does not"
    if kept:
        assert lane.finish() == requests.SERVED
        await control.files.truncate(inode, 0)
    else:
        assert await seen_by(control, lane, opcode, await reuse_all(control))


@rule
async def test_marks_come_after_io(world, monkeypatch, kept):
    """Another lane reads while the first write to a block is in its I/O."""
    control, lane = world
    inode = new_file(control, b"own")
    await control.reserver.allocate(inode, 0, SIZE, keep_size=False)
    publish(control, inode)
    if not kept:
        without_order(monkeypatch)
    lane.stop_at(monkeypatch, "pwritev")
    lane.begin(WRITE, inode.ino, SIZE, LATE * SIZE)
    assert lane.ask(READ, inode.ino, SIZE, number=1) == requests.SERVED
    before = b"\xee" * SIZE  # what the members were full of
    assert lane.answer() == (bytes(SIZE) if kept else before)
    assert lane.finish() == requests.SERVED
    assert bytes(await control.files.read(inode, 0, SIZE)) == LATE * SIZE
