# SPDX-License-Identifier: MIT
"""Data of files: read, write, truncate.  The oracle of the compiled data plane.

    write     member I/O, then mark, then size, then reply
    read      only marked blocks are read from members; the rest is zeros
    truncate  under HOLD; down: cut marks, extents and size in one transaction

Bytes beyond EOF are never assumed to be zero: whatever raises size zeroes
[old size, end of its block) first, under HOLD.  The first write to a part of a
block writes the whole block, zeros around the data; it excludes every other
first write to that block until it is marked.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import trio

from iomapd.abi.units import BLOCK, MAX_FILE_SIZE
from iomapd.cache.entry import NOT_SHRINKING, SHRINK
from iomapd.control.buffers import BufferPool
from iomapd.control.core import now_ns
from iomapd.control.points import touch
from iomapd.control.slowpath import FILE_END
from iomapd.dataplane.pieces import gather
from iomapd.errors import SpaceError
from iomapd.geometry.ranges import round_down, round_up

if TYPE_CHECKING:
    from typing import Any

    from iomapd.cache.inode import Inode
    from iomapd.control.core import Core
    from iomapd.control.points import Points
    from iomapd.control.room import Room
    from iomapd.dataplane.pieces import Run
    from iomapd.geometry.ranges import RangeSet

DAY_NS = 86_400 * 10**9


class Files:
    """Reads, writes and truncates the regular files of a mount."""

    def __init__(self, core: Core, points: Points, room: Room, *, atime: bool) -> None:
        self._core = core
        self._points = points
        self._room = room
        self._buffers = BufferPool()
        self._atime = atime and not core.read_only

    def marks(self, inode: Inode) -> RangeSet:
        """Return the written blocks of *inode*, loaded on first use."""
        return self._core.marks.of(inode)

    # -- read

    async def read(self, inode: Inode, pos: int, count: int) -> bytes | memoryview:
        """Return up to *count* bytes at *pos*; fewer only at EOF.

        A view is valid until the caller's next checkpoint, see `BufferPool`.

        Raises:
            MemberError: a member failed.
            BadMappingError: a marked block has no extent.
        """
        async with self._core.gate.showing(inode):
            end = min(pos + count, inode.size)
            if pos >= end:
                return b""
            with self._buffers.lent(end - pos) as buffer:
                runs: list[Run] = []
                for start, stop, written in self.marks(inode).pieces(pos, end):
                    if written:
                        runs.extend(self._runs(inode, start, stop, pos))
                    else:
                        buffer[start - pos : stop - pos] = bytes(stop - start)
                await self._core.io.read(runs, buffer)
                self._core.ends.tell(inode.ino, pos, end, done=end - pos, writing=False)
                if self._atime:
                    _relatime(inode)
                return buffer

    def _runs(self, inode: Inode, start: int, end: int, base: int) -> list[Run]:
        return gather(self._core.mapper.pieces(inode.ino, start, end), base)

    # -- write

    async def write(self, inode: Inode, pos: int, data: bytes, *, timed: bool = True) -> int:
        """Write *data* at *pos*; return the bytes written, fewer only when the volume is full.

        Args:
            inode: a regular file.
            pos: where, bytes.
            data: what.
            timed: set the times of a write; False: the kernel keeps them.

        Raises:
            OSError: EFBIG, EROFS.
            SpaceError: not one byte fits.
            MemberError: a member failed; what was marked before stays as it was
                marked, the bytes of this write are undefined where they overlap it.
        """
        if self._core.read_only:
            raise OSError(errno.EROFS, "the mount is read-only")
        if pos + len(data) > FILE_END:
            raise OSError(errno.EFBIG, f"a write at {pos} ends beyond the largest file")
        gate = self._core.gate
        while True:
            alone = self._must_be_alone(inode, pos, len(data))
            async with gate.holding(inode) if alone else gate.showing(inode):
                if self._must_be_alone(inode, pos, len(data)) and not alone:
                    continue  # it changed while we queued
                if self._leaves_gap(inode, pos):
                    await self._zero_tail(inode)
                done = await self._write(inode, pos, data)
                if timed:
                    touch(inode, data=True)
                return done

    def _must_be_alone(self, inode: Inode, pos: int, count: int) -> bool:
        """Tell whether a write rewrites bytes that are not its own: the rest of a block."""
        edges = (pos | pos + count) % BLOCK != 0
        return (edges and self._core.io.needs_whole_blocks) or self._leaves_gap(inode, pos)

    def _leaves_gap(self, inode: Inode, pos: int) -> bool:
        """Tell whether a size beyond *pos* would uncover stale bytes of the EOF block."""
        return pos > inode.size and self._has_stale_tail(inode)

    def _has_stale_tail(self, inode: Inode) -> bool:
        return inode.size % BLOCK != 0 and self.marks(inode).contains(inode.size, inode.size + 1)

    async def _zero_tail(self, inode: Inode) -> None:
        """Zero [size, end of its block); the inode is held."""
        await self.zero(inode, inode.size, round_up(inode.size, BLOCK))

    async def zero(self, inode: Inode, start: int, end: int) -> None:
        """Zero ``[start, end)`` (bytes), which is written; the inode is held."""
        runs = self._runs(inode, start, end, start)
        await self._core.io.write(runs, memoryview(bytes(end - start)))
        self._touch_members(inode, runs)
        inode.note_change()

    def _touch_members(self, inode: Inode, runs: list[Run]) -> None:
        for member in {run.member for run in runs}:
            inode.touch_members(self._core.bit_of(member))

    async def _write(self, inode: Inode, pos: int, data: bytes) -> int:
        if self.marks(inode).contains(round_down(pos, BLOCK), round_up(pos + len(data), BLOCK)):
            return await self._write_here(inode, pos, data)
        # The first write to part of a block writes all of it: no lane may do so meanwhile.
        async with self._core.gate.quiet(inode):
            return await self._write_here(inode, pos, data)

    async def _write_here(self, inode: Inode, pos: int, data: bytes) -> int:
        end = pos + len(data)
        low, high = round_down(pos, BLOCK), round_up(end, BLOCK)
        entry = await self._enter_first_write(inode, pos, end)
        try:
            if entry is not None:
                covered = await self._room.allocate(inode, low, high)
                if covered <= pos:
                    raise SpaceError(f"no space left for inode {inode.ino} at {pos}")
                end = min(end, covered)
                high = round_up(end, BLOCK)
            start, buffer = self._padded(inode, pos, end, data)
            runs = self._runs(inode, start, start + len(buffer), start)
            await self._put(inode, runs, buffer, (pos, end), first=entry is not None)
            self._touch_members(inode, runs)
            self._core.marks.add(inode, low, high)
            inode.raise_size(end)
            inode.note_change()
            return end - pos
        finally:
            if entry is not None:
                inode.first_writes.remove(entry)
                entry[3].set()

    async def _put(
        self, inode: Inode, runs: list[Run], buffer: bytes, span: tuple[int, int], *, first: bool
    ) -> None:
        """Write to the members and tell the programs how it ended."""
        pos, end = span
        done = -errno.EIO
        try:
            await self._core.io.write(runs, memoryview(buffer))
            done = end - pos
        finally:
            ends = self._core.ends
            ends.tell(inode.ino, pos, end, done=done, writing=True)
            if first or done < 0 or end > inode.size:
                ends.tell(inode.ino, pos, end, done=done, writing=True, ioend=True)

    async def _enter_first_write(
        self, inode: Inode, pos: int, end: int
    ) -> tuple[int, int, bool, trio.Event] | None:
        """Register a write to unwritten blocks; None when all blocks are written.

        Two first writes that fill their blocks may overlap, the last one wins.
        One that fills a block in part also writes zeros there, so it must be
        alone with it.
        """
        low, high = round_down(pos, BLOCK), round_up(end, BLOCK)
        while True:
            marks = self.marks(inode)
            if marks.contains(low, high):
                return None
            partial = not (
                (pos == low or marks.contains(low, low + 1))
                and (end == high or marks.contains(high - 1, high))
            )
            other = next(
                (e for e in inode.first_writes if e[0] < high and low < e[1] and (partial or e[2])),
                None,
            )
            if other is None:
                entry = (low, high, partial, trio.Event())
                inode.first_writes.append(entry)
                return entry
            event = other[3]
            assert isinstance(event, trio.Event)
            await event.wait()

    def _padded(self, inode: Inode, pos: int, end: int, data: bytes) -> tuple[int, bytes]:
        """Return where to write and what: *data* with zeros to fill unwritten blocks."""
        marks = self.marks(inode)
        low, high = round_down(pos, BLOCK), round_up(end, BLOCK)
        head = 0 if marks.contains(low, low + 1) else pos - low
        tail = 0 if marks.contains(high - 1, high) else high - end
        if end - pos < len(data):
            data = data[: end - pos]
        if not head and not tail:
            return pos, data
        return pos - head, bytes(head) + data + bytes(tail)

    # -- truncate

    async def truncate(self, inode: Inode, size: int, **fields: Any) -> None:
        """Set the size, and *fields* of the inode with it, in one operation.

        Raises:
            OSError: EFBIG, EROFS.
        """
        if size > MAX_FILE_SIZE:
            raise OSError(errno.EFBIG, f"size {size} is beyond the largest file")
        async with self._core.gate.holding(inode):
            now = now_ns()
            fields = {"mtime_ns": now, "ctime_ns": now, **fields}
            if size <= inode.size:  # to the same size: what is preallocated beyond it goes
                self._shrink(inode, size, fields)
            else:
                await self._grow(inode, size, fields)

    async def extend(self, inode: Inode, size: int) -> None:
        """Raise the size to at least *size*; bytes between read as zeros."""
        async with self._core.gate.holding(inode):
            if size > inode.size:
                now = now_ns()
                await self._grow(inode, size, {"mtime_ns": now, "ctime_ns": now})

    def shrink_now(self, inode: Inode, size: int) -> None:
        """Lower the size; blocks, and nobody works on *inode*."""
        now = now_ns()
        self._shrink(inode, size, {"mtime_ns": now, "ctime_ns": now})

    def _shrink(self, inode: Inode, size: int, fields: dict[str, Any]) -> None:
        core, end = self._core, round_up(size, BLOCK)
        gone, kept, spaces = self._room.cut(inode, end)
        # Who comes after a crash between the commit and the rest finishes the rest.
        inode.words[SHRINK // 8] = size
        try:
            with core.operation() as op:
                core.store.space.delete_extents(gone)
                core.store.space.put_extents(kept)
                core.store.space.clear_written(inode.ino, end, FILE_END)
                op.change(inode, size=min(inode.stored_size, size), **fields)
                op.held.extend(spaces)
        except BaseException:
            inode.words[SHRINK // 8] = NOT_SHRINKING
            raise
        inode.size = size
        inode.note_change()
        core.marks.cut(inode, end, FILE_END)
        inode.words[SHRINK // 8] = NOT_SHRINKING
        self._points.clip(inode.ino, size, end)
        self._room.publish_cut(inode, end, gone, kept)

    async def _grow(self, inode: Inode, size: int, fields: dict[str, Any]) -> None:
        stale = size > inode.size and self._has_stale_tail(inode)
        if stale:
            await self._zero_tail(inode)
        # A size may be committed before data only where no data hangs on it:
        # else a power cut could show what lay behind the old EOF.
        if not stale and not self._points.is_pending(inode):
            fields = {"size": size, **fields}
        with self._core.operation() as op:
            op.change(inode, **fields)
        self._core.table.attach(inode)
        inode.size = size
        if inode.size != inode.stored_size:
            inode.note_change()


def _relatime(inode: Inode) -> None:
    """Raise atime as mount(8) says of relatime: when older than a change or than a day."""
    now = now_ns()
    if inode.atime_ns <= max(inode.mtime_ns, inode.ctime_ns) or now - inode.atime_ns > DAY_NS:
        inode.atime_ns = now
        inode.note_change()
