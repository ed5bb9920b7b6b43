# SPDX-License-Identifier: MIT
"""Requests of the side pair, as the kernel sends them, and the bytes that it gets back."""

import errno
import os
import socket
import stat
import struct
from types import SimpleNamespace

import pytest

from iomapd.abi.fuse import INIT_WRITEBACK_CACHE
from iomapd.abi.fuse_side import Request
from iomapd.fuse.caching import Caching
from iomapd.fuse.handles import Handles
from iomapd.fuse.side import Side
from iomapd.fuse.side_ops import SideOperations
from tests.transport import messages

FALLOCATE, LSEEK, COPY, TMPFILE, STATX, COPY_64 = 43, 46, 47, 51, 52, 53
MIB = 1 << 20


class Kernel:
    """Stands in for the transport: what the kernel asks, and what it is told."""

    def __init__(self):
        self.ours, self.side = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.limits = SimpleNamespace(flags=0)
        self.replies = {}
        self.notified = []

    def agreed(self, capability):
        return bool(self.limits.flags & capability)

    def reply(self, message):
        length, error, unique = struct.unpack_from("<IiQ", message)
        assert length == len(message)
        self.replies[unique] = -error, message[16:]

    def notify(self, message):
        self.notified.append(message)


class Mount:
    def __init__(self, control):
        self.control, self.kernel, self.handles = control, Kernel(), Handles()
        self.requests = {}
        operations = SideOperations(
            control, self.handles, self.kernel, Caching("through", self.kernel.agreed)
        )
        self.side = Side(operations, self.kernel, self.requests)

    def open(self, name, flags=os.O_RDWR):
        inode = self.control.names.make(1, name, stat.S_IFREG | 0o644, (0, 0))
        return inode, self.handles.add(inode, flags)

    async def ask(self, opcode, body, nodeid):
        """Send one request and return ``(errno, body of the reply)``."""
        request = messages.request(opcode, body, unique=2, nodeid=nodeid)
        await self.side._answer(Request.unpack(request))
        return self.kernel.replies.pop(2)


@pytest.fixture
async def mount(live):
    mount = Mount(live)
    yield mount
    mount.kernel.ours.close()
    mount.kernel.side.close()


def fallocate_in(fh, pos, length, mode):
    return struct.pack("<QQQII", fh, pos, length, mode, 0)


def lseek_in(pos, whence):
    return struct.pack("<QQII", 0, pos, whence, 0)


def copy_in(pos, target, fh, at, length, flags=0):
    return struct.pack("<7Q", 0, pos, target, fh, at, length, flags)


async def test_requests_are_read_until_the_pair_is_hung_up(mount):
    inode, _ = mount.open(b"f")
    for unique in (2, 4, 6):
        body = lseek_in(0, os.SEEK_DATA)
        mount.kernel.ours.send(messages.request(LSEEK, body, unique=unique, nodeid=inode.ino))
    mount.kernel.ours.shutdown(socket.SHUT_RDWR)
    await mount.side.run()
    assert mount.kernel.replies == dict.fromkeys((2, 4, 6), (errno.ENXIO, b""))
    assert mount.requests["lseek"][0] == 3


@pytest.mark.parametrize(
    ("mode", "result", "size"),
    [
        (0x00, 0, 2 * MIB), (0x01, 0, 5), (0x03, 0, 5), (0x10, 0, 2 * MIB), (0x11, 0, 5),
        (0x02, errno.EOPNOTSUPP, 5), (0x08, errno.EOPNOTSUPP, 5), (0x20, errno.EOPNOTSUPP, 5),
        (0x12, errno.EOPNOTSUPP, 5),
    ],
)  # fmt: skip
async def test_fallocate(mount, mode, result, size):
    inode, fh = mount.open(b"f")
    await mount.control.files.write(inode, 0, b"12345")
    found = await mount.ask(FALLOCATE, fallocate_in(fh, MIB, MIB, mode), inode.ino)
    assert found == (result, b"")
    assert inode.size == size


async def test_a_synchronous_handle_makes_it_durable(mount):
    inode, fh = mount.open(b"f", os.O_RDWR | os.O_DSYNC)
    await mount.control.files.write(inode, 0, b"x" * MIB)
    assert await mount.ask(FALLOCATE, fallocate_in(fh, 0, 4096, 0x03), inode.ino) == (0, b"")
    assert mount.control.core.store.space.written(inode.ino) == [(4096, MIB)]


@pytest.mark.parametrize(("opcode", "reply"), [(COPY, "<II"), (COPY_64, "<Q")])
async def test_copies_are_counted_in_both_widths(mount, opcode, reply):
    source, _ = mount.open(b"s")
    target, fh = mount.open(b"t")
    await mount.control.files.write(source, 0, b"x" * 100_000)
    error, body = await mount.ask(opcode, copy_in(10, target.ino, fh, 5, 1 << 40), source.ino)
    assert error == 0
    assert struct.unpack(reply, body)[0] == 99_990
    assert target.size == 99_995
    bad = copy_in(0, target.ino, fh, 0, 1, flags=1)
    assert await mount.ask(opcode, bad, source.ino) == (errno.EINVAL, b"")


async def test_seeks(mount):
    inode, _ = mount.open(b"f", os.O_RDONLY)
    await mount.control.files.write(inode, MIB, b"x" * 4096)
    found = await mount.ask(LSEEK, lseek_in(0, os.SEEK_DATA), inode.ino)
    assert found == (0, struct.pack("<Q", MIB))
    found = await mount.ask(LSEEK, lseek_in(MIB, os.SEEK_HOLE), inode.ino)
    assert found == (0, struct.pack("<Q", MIB + 4096))
    assert (await mount.ask(LSEEK, lseek_in(0, os.SEEK_END), inode.ino))[0] == errno.EINVAL
    assert mount.kernel.notified == []


async def test_a_seek_lets_the_kernel_write_back_what_somebody_may_have_mapped(mount):
    inode, fh = mount.open(b"f")
    await mount.control.files.write(inode, MIB, b"x" * 4096)
    await mount.ask(LSEEK, lseek_in(0, os.SEEK_DATA), inode.ino)
    notification = messages.notification(2, struct.pack("<Qqq", inode.ino, 0, MIB))
    assert mount.kernel.notified == [notification]
    mount.handles.pop(fh)
    await mount.ask(LSEEK, lseek_in(0, os.SEEK_DATA), inode.ino)
    assert mount.kernel.notified == [notification]


async def test_under_writeback_the_kernel_is_told_not_to_ask_for_holes(mount):
    inode, _ = mount.open(b"f")
    mount.kernel.limits.flags = INIT_WRITEBACK_CACHE
    found = await mount.ask(LSEEK, lseek_in(0, os.SEEK_DATA), inode.ino)
    assert found == (errno.ENOSYS, b"")


async def test_a_nameless_file_is_opened_and_goes_with_its_last_reference(mount):
    body = struct.pack("<4I", os.O_RDWR | os.O_DIRECT, stat.S_IFREG | 0o640, 0, 0) + b"#7\0"
    error, answer = await mount.ask(TMPFILE, body, 1)
    assert (error, len(answer)) == (0, 160 - 16)
    ino, _, entry_valid = struct.unpack_from("<3Q", answer)
    mode, nlink = struct.unpack_from("<2I", answer, 40 + 60)
    fh, open_flags = struct.unpack_from("<QI", answer, 128)
    assert (mode, nlink, entry_valid) == (stat.S_IFREG | 0o640, 0, 3600)
    assert open_flags == 1 | 1 << 1 | 1 << 6
    assert mount.handles[fh].inode.ino == ino
    await mount.control.closed(mount.handles.pop(fh).inode)
    await mount.control.forgotten(ino, 1)
    assert mount.control.core.store.names.inode(ino) is None


async def test_statx(mount):
    inode, _ = mount.open(b"f")
    await mount.control.files.write(inode, 0, b"x" * 5000)
    mount.control.attributes.set(inode, mtime_ns=-1_500_000_000)
    error, body = await mount.ask(STATX, struct.pack("<IIQII", 0, 0, 0, 0, 0xFFF), inode.ino)
    assert (error, len(body)) == (0, 288)
    mask, block, _, nlink, _, _, mode, _, ino, size, blocks = struct.unpack_from(
        "<IIQIIIHHQQQ", body, 32
    )
    assert (mask, block, nlink, ino, size, blocks) == (0xFFF, 4096, 1, inode.ino, 5000, 16)
    assert mode == inode.mode
    times = [struct.unpack_from("<qI", body, 32 + 64 + 16 * i) for i in range(4)]
    assert times[1] == divmod(inode.btime_ns, 10**9)
    assert times[3] == (-2, 500_000_000)


@pytest.mark.parametrize("opcode", [37, 40, 48, 99])
async def test_what_nobody_knows_is_refused_for_good(mount, opcode):
    assert await mount.ask(opcode, b"", 1) == (errno.ENOSYS, b"")


async def test_faults_become_errnos(mount, caplog):
    inode, fh = mount.open(b"f")
    gone = await mount.ask(STATX, struct.pack("<IIQII", 0, 0, 0, 0, 0xFFF), 999)
    assert gone[0] == errno.ESTALE
    assert (await mount.ask(LSEEK, lseek_in(0, os.SEEK_DATA), 1))[0] == errno.ENODEV
    total = sum(mount.control.core.data_size_of.values())
    full = await mount.ask(FALLOCATE, fallocate_in(fh, 0, 2 * total, 0), inode.ino)
    assert full[0] == errno.ENOSPC
    assert caplog.text == ""
    assert (await mount.ask(LSEEK, b"short", inode.ino))[0] == errno.EIO
    assert "lseek failed" in caplog.text
