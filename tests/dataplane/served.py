# SPDX-License-Identifier: MIT
"""A mount without a kernel: members in memory, entries by hand, a socket pair for /dev/fuse.

One writev into a SOCK_SEQPACKET pair is one message, as one writev into /dev/fuse is one reply.
"""

import os
import struct
from array import array

from iomapd.cache import entry as words
from iomapd.cache.marks import bitmap_size
from iomapd.dataplane import plane as planes
from iomapd.dataplane import request as requests
from iomapd.dataplane.batch import RUNS_MAX
from iomapd.dataplane.engine import encode
from iomapd.dataplane.plane import BUFFERED, DIRECT, MAPPED, MemberAccess, Plane
from iomapd.mapping.extent import Extent, Strip
from iomapd.native.memory import copy, load64, store64
from iomapd.native.region import Region
from iomapd.native.view import FileView
from iomapd.transport.pair import open_pair

READ, WRITE = 15, 16
BLOCK = 4096
UNIT = 8192
DATA_OFFSET = 3 * BLOCK
MEMBER_SIZE = 1 << 20
INO = 77
NR_BUCKETS = 4
REPLY_MAX = (1 << 20) + 4096


def striped(offset, rows, members, *, at=0, unit=UNIT):
    """An extent of *rows* rows over the members of these ids, at the same address on each."""
    strip, nr = rows * unit, len(members)
    homes = tuple(Strip(member, at) for member in members)
    return Extent(INO, offset, strip * nr, 1, unit, INO, strip, strip, homes)


class Bitmap:
    """The marks of one extent, written and fresh, by hand."""

    def __init__(self, nr_blocks):
        self.nr_blocks = nr_blocks
        self.size = bitmap_size(nr_blocks)
        self.region = Region(2 * self.size)
        self.written, self.fresh = self.region.addr, self.region.addr + self.size

    def set(self, blocks):
        for block in blocks:
            at = self.written + block // 64 * 8
            store64(at, _signed(load64(at) | 1 << block % 64))

    def blocks(self, base):
        return {b for b in range(self.nr_blocks) if load64(base + b // 64 * 8) >> b % 64 & 1}


def _signed(word):
    return (word + 2**63) % 2**64 - 2**63


class Served:
    """Members, plane, one request buffer and an entry for `INO`."""

    def __init__(self, functions, modes=(BUFFERED,) * 3, directory=None, copies=False, **plane):
        self.copies = copies
        self.serve = functions["serve"]
        self.kernel, self.dev = open_pair(4 << 20)
        self.kernel.settimeout(20)
        self.fds = [self._open(mode, directory, n) for n, mode in enumerate(modes)]
        self.views = {}
        members = [
            self._access(n + 1, fd, mode)
            for n, (fd, mode) in enumerate(zip(self.fds, modes, strict=True))
        ]
        self.plane = Plane(members, **plane)
        if set(modes) == {DIRECT}:
            assert self.plane.allow_batches(RUNS_MAX)
        self.set_flags(0)
        if copies:
            self.know_mappings(-1)
        self.entries = Region(NR_BUCKETS * words.BUCKET_SIZE)
        self.plane.set(planes.ENTRIES, self.entries.addr)
        self.plane.set(planes.NR_BUCKETS, NR_BUCKETS)
        self.plane.set(planes.DEV, self.dev.fileno())
        self.request = self.plane.request(0)
        self.stats = self.plane.statistics_block(0)
        self.entry = self.entries.addr + (INO % NR_BUCKETS) * words.BUCKET_SIZE + words.ENTRY_SIZE
        self.put(words.INO, INO)
        self.put(words.SHRINK, -1)
        self.bitmaps = {}
        self.kept = []
        self.unique = 0
        self.scratch_region = Region(BLOCK)  # O_DIRECT wants its memory aligned
        self.scratch = memoryview(self.scratch_region.words()).cast("B")

    def _open(self, mode, directory, number):
        if directory is None:
            fd = os.memfd_create("member")
        else:
            flags = os.O_RDWR | os.O_CREAT | (os.O_DIRECT if mode == DIRECT else 0)
            fd = os.open(directory / f"member{number}", flags, 0o600)
        os.ftruncate(fd, DATA_OFFSET + MEMBER_SIZE)
        return fd

    def _access(self, member, fd, mode):
        view = None
        if mode == MAPPED:
            view = self.views[member] = FileView(fd, DATA_OFFSET, MEMBER_SIZE, writable=True)
        return MemberAccess(
            member, fd, DATA_OFFSET, MEMBER_SIZE, member - 1, mode,
            view.addr if view else 0, view.size if view else 0,
        )  # fmt: skip

    def close(self):
        self.plane.close()
        for view in self.views.values():
            view.close()
        for fd in self.fds:
            os.close(fd)
        self.kernel.close()
        self.dev.close()

    def set_flags(self, flags):
        self.plane.set(planes.FLAGS, flags | planes.COPIES * self.copies)

    def know_mappings(self, word):
        """Say in which chunks of the mappings something was written before: 64 a word."""
        for member in range(1, len(self.fds) + 1):
            record = load64(self.plane.addr + planes.MEMBERS) + member * planes.MEMBER_SIZE
            store64(load64(record + planes.MEMBER_MET), word)

    # -- the entry

    def put(self, word, value):
        store64(self.entry + word, value)

    def get(self, word):
        return load64(self.entry + word)

    def publish(self, *extents, holes=(), program=0):
        """Publish ``(extent, marked blocks or None for all)`` and ``(start, end)`` holes."""
        triples = [(start, end, 0) for start, end in holes]
        for extent, marked in extents:
            encoded = encode(extent, program=program)
            bitmap = self.bitmaps.get(extent.offset)
            if bitmap is None and marked is not None:
                bitmap = self.bitmaps[extent.offset] = Bitmap(extent.length // BLOCK)
                bitmap.set(marked)
            if bitmap is not None:
                encoded.set_marks(bitmap.written, bitmap.fresh)
            self.kept.append(encoded)
            triples.append((extent.offset, extent.end, encoded.addr))
        block = array("q", [len(triples), *[word for triple in sorted(triples) for word in triple]])
        self.kept.append(block)
        self.put(words.EXTENTS, block.buffer_info()[0])

    def publish_places(self, places):
        """Publish ``(member, addr, start, end)`` pieces for the CACHE strategy."""
        rows = [word for m, a, s, e in sorted(places, key=lambda p: p[2]) for word in (s, e, m, a)]
        table = array("q", [len(places), *rows])
        self.kept.append(table)
        self.put(words.PLACES, table.buffer_info()[0])

    # -- requests

    def message(self, opcode, pos, count, data=b"", *, write_flags=0, flags=0, ino=INO):
        self.unique += 2
        body = struct.pack("<QQIIQII", 1, pos, count, write_flags, 0, flags, 0) + data
        head = struct.pack("<IIQQIIIHH", 40 + len(body), opcode, self.unique, ino, 0, 0, 0, 0, 0)
        return head + body

    def load(self, message, request=None):
        """Put a message into a request buffer as a lane would read it there."""
        request = request or self.request
        store64(request + requests.STATE, requests.BUSY)
        store64(request + requests.COOKIE, requests.NO_COOKIE)
        store64(request + requests.LENGTH, len(message))
        keep = (array("b", message),)
        copy(load64(request + requests.MESSAGE), keep[0].buffer_info()[0], len(message))

    def ask(self, message):
        self.load(message)
        return self.again()

    def again(self):
        return self.serve(self.plane.addr, self.request, self.stats)

    def read(self, pos, count):
        """Serve a READ: its status, or ``bytes``, or ``-errno``."""
        return self._answer(self.ask(self.message(READ, pos, count)))

    def write(self, pos, data, **flags):
        """Serve a WRITE: its status, or the bytes written as ``int`` in a tuple, or ``-errno``."""
        answer = self._answer(self.ask(self.message(WRITE, pos, len(data), data, **flags)))
        return ("wrote", struct.unpack("<II", answer)[0]) if isinstance(answer, bytes) else answer

    def _answer(self, status):
        return self.reply() if status == requests.SERVED else ("status", status)

    def reply(self):
        answer = self.kernel.recv(REPLY_MAX)
        length, error, unique = struct.unpack_from("<IiQ", answer)
        assert (length, unique) == (len(answer), self.unique)
        return error or answer[16:]

    def is_quiet(self):
        """Tell that no reply is waiting and no slot shows anything."""
        slots = load64(self.plane.addr + planes.SLOTS)
        shown = [load64(slots + 64 * n) for n in range(self.plane.nr_requests)]
        self.kernel.setblocking(False)
        try:
            self.kernel.recv(1)
        except BlockingIOError:
            return not any(shown)
        finally:
            self.kernel.settimeout(20)
        return False

    def answer_upcall(self, index, extent, pos):
        """Answer where *pos* is, a whole unit of it, into request buffer *index*."""
        start = pos - (pos - extent.offset) % extent.unit
        fd, addr = self._home(extent, start)
        request = self.plane.request(index)
        member, status = self.fds.index(fd) + 1, requests.ANSWERED
        answer = (status, member, addr - DATA_OFFSET, start, start + extent.unit)
        for number, value in enumerate(answer):
            store64(request + requests.ANSWER + 8 * number, value)

    # -- members

    def block_bytes(self, extent, pos):
        """The block that the members hold for file position *pos*, a multiple of it."""
        fd, addr = self._home(extent, pos)
        assert os.preadv(fd, [self.scratch], addr) == BLOCK
        return bytes(self.scratch)

    def _home(self, extent, pos):
        row, within = divmod(pos - extent.offset, extent.unit * len(extent.strips))
        strip, rest = divmod(within, extent.unit)
        home = extent.strips[strip]
        return self.fds[home.member - 1], DATA_OFFSET + home.addr + row * extent.unit + rest

    def fill(self, extent, pos, data):
        """Put *data*, whole blocks, where the formula says."""
        for at in range(0, len(data), BLOCK):
            fd, addr = self._home(extent, pos + at)
            self.poke(fd, addr, data[at : at + BLOCK])

    def poke(self, fd, addr, data):
        self.scratch[: len(data)] = data
        assert os.pwritev(fd, [self.scratch[: len(data)]], addr) == len(data)
