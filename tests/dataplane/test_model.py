# SPDX-License-Identifier: MIT
"""What is served against one big bytearray: random extents, marks, modes, strategies, requests.

The members are full of a previous owner's bytes; none of them may ever be seen.  The test is
the control plane: it publishes what is missed, answers upcalls, and does itself what is handed on.
"""

import contextlib
import errno

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iomapd.cache import entry as words
from iomapd.dataplane import plane as planes
from iomapd.dataplane import request as requests
from iomapd.dataplane.plane import BUFFERED, DIRECT, MAPPED
from iomapd.native.memory import load64
from tests.dataplane.mapping import map_extent
from tests.dataplane.served import BLOCK, INO, READ, UNIT, WRITE, Served, striped

FOREIGN = 0xEE
PATTERN = b"".join(bytes([n % 199 + 1]) * 97 for n in range(1000))
STRATEGIES = [planes.BY_PROGRAM, planes.BY_CACHE, planes.BY_UPCALL]


@st.composite
def layouts(draw):
    """Extents and holes from 0 on: ``(extent or None for a hole, start, end, marked, late)``."""
    pos, at, parts = 0, 0, []
    for _ in range(draw(st.integers(1, 4))):
        width, rows = draw(st.integers(0, 3)), draw(st.integers(1, 3))
        late = draw(st.booleans())
        if width == 0:
            parts.append((None, pos, pos + rows * UNIT, None, late))
        else:
            members = draw(st.permutations([1, 2, 3]))[:width]
            extent = striped(pos, rows, members, at=at)
            whole = draw(st.booleans())
            marked = None if whole else draw(st.sets(st.integers(0, extent.length // BLOCK - 1)))
            parts.append((extent, pos, extent.end, marked, late))
            at += rows * UNIT
        pos = parts[-1][2]
    return parts


@st.composite
def operations(draw, end):
    block = draw(st.integers(0, end // BLOCK))
    pos = block * BLOCK + draw(st.sampled_from([0, 0, 1, 700, BLOCK - 1]))
    size = draw(st.one_of(st.integers(1, 4).map(lambda n: n * BLOCK), st.integers(1, 30_000)))
    return draw(st.sampled_from([READ, WRITE])), pos, max(1, min(size, end - pos))


class World:
    """A served file, and what it should hold."""

    def __init__(self, served, parts, strategy, size):
        self.served, self.parts, self.strategy = served, parts, strategy
        self.end = parts[-1][2]
        self.spare = 600 << 10  # where holes get their space
        self.places = []
        served.plane.set(planes.STRATEGY, strategy)
        served.set_flags(planes.CAN_BLOCK * (size % 2))
        self.data = bytearray(self.end)
        self.marked = set()
        for extent, *_, marked, _late in parts:
            if extent is not None:
                self._prepare(extent, marked)
        # No block beyond that of the end is ever marked; in that one there may be stale bytes.
        self.size = max(size, max(self.marked, default=-1) * BLOCK + 1)
        self.data[self.size :] = bytes(self.end - self.size)
        served.put(words.SIZE, self.size)
        self.publish(late=False)

    def _prepare(self, extent, marked):
        blocks = range(extent.length // BLOCK) if marked is None else marked
        for block in range(extent.length // BLOCK):
            pos = extent.offset + block * BLOCK
            content = bytes([pos // BLOCK % 199 + 1]) * BLOCK
            if block in blocks:
                self.marked.add(pos // BLOCK)
                self.data[pos : pos + BLOCK] = content
            else:
                content = bytes([FOREIGN]) * BLOCK
            self.served.fill(extent, pos, content)

    def publish(self, *, late):
        shown = [part for part in self.parts if late or not part[4]]
        extents = [(extent, marked) for extent, _, _, marked, _ in shown if extent is not None]
        holes = [(start, end) for extent, start, end, _, _ in shown if extent is None]
        self.served.publish(*extents, holes=holes)

    # -- the control plane

    def answer_miss(self, writing):
        request = self.served.request
        pos = load64(request + requests.MISSING)
        if load64(request + requests.KIND) == requests.UPCALL:
            self.served.answer_upcall(0, self.extent_at(pos), pos)
            return
        if writing:
            self.parts = [self._allocated(part, pos) for part in self.parts]
        self.publish(late=True)
        if self.strategy == planes.BY_CACHE and self.extent_at(pos) is not None:
            extent = self.extent_at(pos)
            pieces = list(map_extent(extent, extent.offset, extent.end))
            self.places = [p for p in self.places if p not in pieces] + pieces
            self.served.publish_places(self.places)

    def _allocated(self, part, pos):
        extent, start, end, _, _ = part
        if extent is not None or not start <= pos < end:
            return part
        extent = striped(start, (end - start) // UNIT, [2], at=self.spare)
        self.spare += end - start
        self.served.fill(extent, start, bytes([FOREIGN]) * (end - start))
        return extent, start, end, set(), True

    def extent_at(self, pos):
        return next(extent for extent, start, end, *_ in self.parts if start <= pos < end)

    def write_itself(self, pos, data):
        """What the handlers do with a write that was handed on, block by block."""
        served, old = self.served, self.served.get(words.SIZE)
        self.parts = self._allocate_all(pos, pos + len(data))
        self.publish(late=True)
        if pos > old and old % BLOCK and old // BLOCK in self.marked:
            self._put_block(old // BLOCK, old, bytes(BLOCK - old % BLOCK))
        for block in range(pos // BLOCK, (pos + len(data) - 1) // BLOCK + 1):
            low, high = max(pos, block * BLOCK), min(pos + len(data), (block + 1) * BLOCK)
            self._put_block(block, low, data[low - pos : high - pos])
        served.put(words.SIZE, max(old, pos + len(data)))

    def _allocate_all(self, pos, end):
        parts = self.parts
        for _, start, stop, *_ in list(parts):
            if start < end and pos < stop:
                parts = [self._allocated(part, start) for part in parts]
        return parts

    def _put_block(self, block, pos, data):
        extent = self.extent_at(pos)
        low = block * BLOCK
        content = bytearray(BLOCK)
        if block in self.marked:
            content[:] = self.served.block_bytes(extent, low)
        content[pos - low : pos - low + len(data)] = data
        self.served.fill(extent, low, bytes(content))
        self.marked.add(block)
        bitmap = self.served.bitmaps.get(extent.offset)
        if bitmap is not None:
            bitmap.set([(low - extent.offset) // BLOCK])

    # -- requests

    def do(self, opcode, pos, size, number):
        data = PATTERN[number * 37 : number * 37 + size]
        message = self.served.message(opcode, pos, size, data if opcode == WRITE else b"")
        status = self.served.ask(message)
        for _ in range(200):
            if status != requests.PARK:
                break
            assert self.served.is_quiet()
            self.answer_miss(opcode == WRITE)
            status = self.served.again()
        if opcode == READ:
            assert status == requests.SERVED
            assert self.served.reply() == self.data[pos : min(pos + size, self.size)]
            return
        self._check_write(status, pos, data)

    def _check_write(self, status, pos, data):
        end = pos + len(data)
        if status == requests.SERVED:
            assert int.from_bytes(self.served.reply()[:4], "little") == len(data)
            self.marked |= set(range(pos // BLOCK, (end - 1) // BLOCK + 1))
        else:
            assert status in (requests.FORWARD_PARTIAL, requests.FORWARD_UNALIGNED)
            assert self.served.is_quiet()
            self.write_itself(pos, data)
        self.data[pos:end] = data
        self.size = max(self.size, end)
        assert self.served.get(words.SIZE) == self.size

    def check(self):
        for extent, start, _, marked, _ in self.parts:
            if extent is not None and marked is not None:
                bitmap = self.served.bitmaps.get(start)
                blocks = bitmap.blocks(bitmap.written) if bitmap else set(marked)
                mine = {start // BLOCK + block for block in blocks}
                known = {b for b in self.marked if start <= b * BLOCK < start + extent.length}
                assert mine == known
        assert not self.served.get(words.ATIME) or self.served.get(words.DIRTY)
        assert self.served.get(words.INO) == INO


@given(data=st.data())
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_files_hold_what_was_written_and_nothing_else(functions, tmp_path, data):
    parts = data.draw(layouts())
    mixed = st.lists(st.sampled_from([BUFFERED, MAPPED, DIRECT]), min_size=3, max_size=3)
    modes = data.draw(st.one_of(mixed, st.sampled_from([[MAPPED] * 3, [DIRECT] * 3])))
    directory = tmp_path if DIRECT in modes else None
    copies = data.draw(st.booleans())
    with contextlib.closing(make(functions, modes, directory, copies)) as served:
        size = data.draw(st.integers(0, parts[-1][2]))
        world = World(served, parts, data.draw(st.sampled_from(STRATEGIES)), size)
        for number in range(data.draw(st.integers(1, 8))):
            world.do(*data.draw(operations(world.end - 1)), number)
        world.do(READ, 0, world.end, 0)
        world.check()


def make(functions, modes, directory, copies):
    try:
        return Served(functions, modes, directory, copies, nr_lanes=2)
    except OSError as error:
        if error.errno == errno.EINVAL:
            pytest.skip(f"{directory}: this file system takes no O_DIRECT")
        raise
