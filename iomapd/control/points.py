# SPDX-License-Identifier: MIT
"""Durability points: the promise "what was fsynced is there" is kept here.

    (1) copy    marks and sizes of completed writes, in one step, no checkpoint
    (2) flush   fdatasync the members those writes touched
    (3) commit  put exactly this copy into the store, fdatasync its log
    (4) free    space freed before (3) may be given out again

Only marks and the sizes above them depend on data; names, attributes and
allocations are committed by their own operations and may become durable any
time.  What completes after (1) belongs to the next point.  Who asks while a
point runs waits for the next one; many waiters share it.

A truncate or a delete between (1) and (3) must not be undone by (3): it clips
the copies under way (`clip`, `drop`).
"""

from __future__ import annotations

import errno
import logging
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import trio

from iomapd.abi.units import BLOCK
from iomapd.control.core import now_ns, stored_record
from iomapd.control.dirt import Dirt
from iomapd.errors import StoreError
from iomapd.geometry.ranges import RangeSet, round_up

if TYPE_CHECKING:
    from iomapd.cache.inode import Inode
    from iomapd.control.core import Core
    from iomapd.control.freespace import Space

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
LOOKS: Final = 5
INTERVAL_S: Final = LOOKS * LOOK_S
CHECKPOINT_WAL: Final = 64 << 20  # bytes of log that make a checkpoint worth its I/O


@dataclass(slots=True)
class _Copy:
    """What (1) copied of one inode."""

    inode: Inode
    size: int
    marks: RangeSet
    touched: set[int]  # member ids


@dataclass(slots=True)
class PointCounters:
    """Counts since the mount; durations in ns."""

    points: int = 0
    failures: int = 0
    waiters: int = 0
    inodes: int = 0
    ns_max: int = 0
    ns_total: int = 0


@dataclass(slots=True)
class _Round:
    """One point that people wait for."""

    done: trio.Event = field(default_factory=trio.Event)
    error: OSError | None = None


class Points:
    """Makes durability points for one mount; `run` is its task.

    Attributes:
        dirt: what the next point will have to do.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self.dirt = Dirt(core.io, core.space)
        self._copies: dict[int, _Copy] = {}
        self._next = _Round()
        self._wanted = trio.Event()
        self._store_failed = False
        self._flushing: set[int] = set()  # of `Core.unflushed`, under way in a point
        self.counters = PointCounters()

    # -- asking

    async def make(self) -> None:
        """Wait for a point that covers everything completed before this call.

        Raises:
            OSError: EIO, the log could not be made durable.
        """
        if self._core.read_only:
            return
        self.counters.waiters += 1
        mine = self._next
        self._wanted.set()
        await mine.done.wait()
        if mine.error is not None:
            raise mine.error

    async def sync_inode(self, inode: Inode, *, data_only: bool) -> None:
        """Fsync or fdatasync one inode.

        Raises:
            OSError: EIO, its data or the log could not be made durable.
        """
        if data_only and not self.is_pending(inode) and not self._is_unflushed(inode.ino):
            # Written blocks overwritten in place: flush what was touched, no more.
            # They stay touched until a point has flushed them: a point that runs
            # meanwhile must not believe this flush done.
            touched = self._core.members_of(inode.touched)
            if failed := await self._core.io.flush(touched):
                self._fail(inode, touched & failed)
        else:
            await self.make()
        if inode.failed:
            raise OSError(errno.EIO, f"inode {inode.ino}: its data could not be made durable")

    # -- changes that a copy under way must not undo

    def clip(self, ino: int, size: int, start: int) -> None:
        """A truncate lowered size to *size* and cleared marks from *start* on (bytes)."""
        copy = self._copies.get(ino)
        if copy is not None:
            copy.size = min(copy.size, size)
            copy.marks.remove(start, copy.marks.end())

    def punch(self, ino: int, start: int, end: int) -> None:
        """Marks were cleared from *start* to *end* (bytes)."""
        copy = self._copies.get(ino)
        if copy is not None:
            copy.marks.remove(start, end)

    def drop(self, ino: int) -> None:
        """The inode was deleted."""
        self._copies.pop(ino, None)

    def is_pending(self, inode: Inode) -> bool:
        """Tell whether *inode* has data or size younger than the last point."""
        if stat.S_ISREG(inode.mode):
            self._core.marks.of(inode)
        return bool(inode.fresh) or inode.size != inode.stored_size or inode.ino in self._copies

    def _is_unflushed(self, ino: int) -> bool:
        """Tell whether a committed change, such as a truncate, may still be lost."""
        return ino in self._core.unflushed or ino in self._flushing

    # -- making

    async def run(self) -> None:
        """Make points: when asked, at enough dirt, and every `INTERVAL_S` with any at all."""
        if self._core.read_only:
            await trio.sleep_forever()  # what was taken over stays in memory
        looks = 0
        while True:
            with trio.move_on_after(LOOK_S):
                await self._wanted.wait()
            looks += 1
            is_time = looks % LOOKS == 0
            if self._wanted.is_set() or self.dirt.is_enough() or (is_time and self._has_work()):
                await self.make_now()
                looks = 0

    def _has_work(self) -> bool:
        core = self._core
        return core.table.has_dirty() or bool(core.space.held or core.unflushed)

    async def make_now(self) -> None:
        """Make one point; `run`, and the end of a mount, call this."""
        this, self._next = self._next, _Round()
        self._wanted = trio.Event()
        started = trio.current_time()
        try:
            # Not to be cancelled half-way: its copies are nowhere else.  An
            # unmount that comes during a point waits for it.
            with trio.CancelScope(shield=True):
                await self._make()
        except (OSError, StoreError) as exc:
            self.counters.failures += 1
            log.error("durability point failed: %s", exc)
            this.error = OSError(errno.EIO, f"durability point failed: {exc}")
        except BaseException:
            this.error = OSError(errno.EIO, "the server is ending")
            raise
        finally:
            self.counters.points += 1
            took = int((trio.current_time() - started) * 1e9)
            self.counters.ns_total += took
            self.counters.ns_max = max(self.counters.ns_max, took)
            this.done.set()

    async def _make(self) -> None:
        if self._store_failed:
            raise OSError(errno.EIO, "the metadata store's log failed to flush earlier")
        self._copy()
        touched = {member for copy in self._copies.values() for member in copy.touched}
        failed = await self._core.io.flush(touched)
        for copy in list(self._copies.values()):
            if copy.touched & failed:
                self._fail(copy.inode, copy.touched & failed)
                self._put_back(copy)
        await self._commit(failed)
        if self._core.store.wal_size() > CHECKPOINT_WAL:
            await trio.to_thread.run_sync(self._core.store.checkpoint)

    def _copy(self) -> None:
        """Step (1); no checkpoint in here, so it is one instant."""
        assert not self._copies
        self.dirt.taken()
        for inode in self._core.table.take_dirty():
            self._copies[inode.ino] = self._copy_of(inode)
            # Else the table could evict it and load the store's old size again.
            inode.in_point = True
        self.counters.inodes += len(self._copies)

    def _copy_of(self, inode: Inode) -> _Copy:
        """Copy size, marks and touched members, in this order: lanes go on meanwhile.

        They set them in the opposite order, so every size copied has its marks, and every mark
        its touched members.  A mark without its size belongs to a write under way: it waits.
        """
        inode.changed = False
        size = inode.size
        end = round_up(size, BLOCK)
        if stat.S_ISREG(inode.mode):
            self._core.marks.of(inode)
        marks, inode.fresh = inode.fresh, RangeSet()
        for low, high in marks.intersect(end, marks.end()):
            marks.remove(low, high)
            inode.fresh.add(low, high)
            inode.note_change()
        return _Copy(inode, size, marks, self._core.members_of(inode.take_touched()))

    async def _commit(self, failed: set[int]) -> None:
        """Steps (3) and (4)."""
        store, space = self._core.store, self._core.space
        copies = list(self._copies.values())
        try:
            with store.transaction():
                for copy in copies:
                    store.space.mark_written(copy.inode.ino, copy.marks)
                    # Size from the copy; times and the rest as they are now,
                    # they depend on no data.
                    before, copy.inode.stored_size = copy.inode.stored_size, copy.size
                    try:
                        store.names.update_inode(stored_record(copy.inode))
                    finally:
                        copy.inode.stored_size = before
        except BaseException:
            for copy in copies:
                self._put_back(copy)
            raise
        for copy in copies:
            copy.inode.stored_size = copy.size
            copy.inode.in_point = False
            self._core.marks.settle(copy.inode, copy.marks)
        self._flushing = self._core.unflushed.union(copy.inode.ino for copy in copies)
        self._core.unflushed = set()
        self._copies.clear()
        freed = space.take_held()
        try:
            await trio.to_thread.run_sync(store.sync)
        except OSError:
            self._store_failed = True
            space.unsettle(freed)
            raise
        except BaseException:
            space.unsettle(freed)
            raise
        self._flushing = set()
        self._settle(freed, failed | self._core.io.failed())

    def _settle(self, freed: list[Space], failed: set[int]) -> None:
        # Nothing that rests on a member whose flush failed is given out again.
        self._core.space.settle([s for s in freed if s[0] not in failed])
        self._core.space.unsettle([s for s in freed if s[0] in failed])

    def _put_back(self, copy: _Copy) -> None:
        """Return a copy that was not committed to its inode."""
        copy.inode.fresh.update(copy.marks)
        for member in copy.touched:
            copy.inode.touch_members(self._core.bit_of(member))
        copy.inode.note_change()
        copy.inode.in_point = False
        self._copies.pop(copy.inode.ino, None)

    def _fail(self, inode: Inode, members: set[int]) -> None:
        if not inode.failed:
            log.error("inode %d: data on member(s) %s is not durable", inode.ino, sorted(members))
        inode.fail()
        self._core.marks.disown(inode)


def touch(inode: Inode, *, data: bool) -> None:
    """Set the times of a write (*data*) or of an attribute change; deferred to a point."""
    now = now_ns()
    if data:
        inode.mtime_ns = now
    inode.ctime_ns = now
    inode.note_change()
