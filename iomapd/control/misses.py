# SPDX-License-Identifier: MIT
"""What lanes miss: mapping requests, answered by publishing.

A lane that finds no extents for a request parks it and posts a record; the data of the request
stays where it is.  The answer here is a publication and one word to the resume thread: serve
again, or hand the request to the handlers of ``fuse/``, which know every error by name.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import struct
from typing import TYPE_CHECKING, Final

import trio

from iomapd.abi.units import BLOCK
from iomapd.control.slowpath import FILE_END
from iomapd.dataplane.pieces import Run
from iomapd.dataplane.request import (
    ANSWER_ADDR,
    ANSWER_END,
    ANSWER_MEMBER,
    ANSWER_START,
    ANSWER_STATUS,
    ANSWERED,
    FAULT,
    POST_SIZE,
    POST_WRITE,
    UPCALL,
)
from iomapd.errors import IomapdError
from iomapd.geometry.ranges import round_down, round_up
from iomapd.native.memory import store64

if TYPE_CHECKING:
    from collections.abc import Callable

    from iomapd.cache.inode import Inode
    from iomapd.control.core import Core
    from iomapd.control.room import Room

log = logging.getLogger(__name__)

_POSTED: Final = struct.Struct("<6q")  # index, ino, pos, count, opflags, kind
_ANSWER: Final = struct.Struct("<2q")  # index, verdict
assert _POSTED.size == POST_SIZE

SERVE: Final = 1
FORWARD: Final = 2

_BATCH: Final = 64


class Misses:
    """Answers the lanes of one mount.

    Args:
        core: the mount's state.
        room: makes extents.
        posted: descriptor to read records from; non-blocking.
        answers: descriptor to write verdicts to.
        request: returns the address of a request buffer by its index.
    """

    def __init__(
        self, core: Core, room: Room, posted: int, answers: int, request: Callable[[int], int]
    ) -> None:
        self._core = core
        self._room = room
        self._posted = posted
        self._answers = answers
        self._request = request
        self.served = 0
        self.forwarded = 0

    async def run(self) -> None:
        """Answer until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                await trio.lowlevel.wait_readable(self._posted)
                try:
                    data = os.read(self._posted, _BATCH * POST_SIZE)
                except BlockingIOError:
                    continue
                if not data:
                    return
                for index, ino, pos, count, what, kind in _POSTED.iter_unpack(data):
                    if kind == FAULT:
                        nursery.start_soon(self._report, what, pos, count)
                    else:
                        nursery.start_soon(self._answer, index, ino, pos, count, what, kind)

    async def _answer(
        self, index: int, ino: int, pos: int, count: int, opflags: int, kind: int
    ) -> None:
        verdict = FORWARD
        try:
            inode = self._core.table.get(ino)
            if inode is None:
                pass
            elif kind == UPCALL:
                verdict = await self._upcall(inode, index, pos)
            elif opflags & POST_WRITE:
                verdict = await self._allocate(inode, pos, count)
            else:
                verdict = await self._look_up(inode, pos, count)
        except (OSError, IomapdError) as exc:
            # The handler meets the same fault and answers it; here nobody waits for it.
            log.debug("inode %d at %d: %s", ino, pos, exc)
        finally:
            self.served += verdict == SERVE
            self.forwarded += verdict == FORWARD
            # A pipe never takes half of so short a record, and has room for all requests.
            os.write(self._answers, _ANSWER.pack(index, verdict))

    async def _report(self, member: int, addr: int, count: int) -> None:
        """Read what a lane could not: the log names the member and what is wrong with it."""
        whole = Run(member, addr, [(0, count)])
        with contextlib.suppress(IomapdError):
            await self._core.io.read([whole], memoryview(bytearray(count)))

    async def _look_up(self, inode: Inode, pos: int, count: int) -> int:
        async with self._core.gate.showing(inode):
            end = min(pos + count, round_up(inode.size, BLOCK))
            for _ in self._core.slow.known(inode.ino, round_down(pos, BLOCK), max(end, pos + 1)):
                pass
            return self._publish(inode, pos, end)

    async def _allocate(self, inode: Inode, pos: int, count: int) -> int:
        if self._core.read_only or pos + count > FILE_END:
            return FORWARD
        low, high = round_down(pos, BLOCK), round_up(pos + count, BLOCK)
        async with self._core.gate.showing(inode):
            # Counts as need while it is made: nobody trims it away.
            entry = (low, high, False, trio.Event())
            inode.first_writes.append(entry)
            try:
                if await self._room.allocate(inode, low, high) < high:
                    return FORWARD  # the handler says ENOSPC, or writes what fits
            finally:
                inode.first_writes.remove(entry)
                entry[3].set()
            return self._publish(inode, pos, high)

    def _publish(self, inode: Inode, pos: int, end: int) -> int:
        core = self._core
        core.learn_capability(inode)  # until that is known, lanes forward writes
        if not core.publisher.publish(inode, pos):
            return FORWARD
        if core.strategy == "cache":
            for low, high, extent in core.slow.ranges(inode.ino, round_down(pos, BLOCK), end):
                if extent is not None:
                    collections.deque(core.mapper.pieces(inode.ino, low, high), maxlen=0)
            core.publisher.publish_places(inode, core.places, pos, end)
        return SERVE

    async def _upcall(self, inode: Inode, index: int, pos: int) -> int:
        """Answer one member-level mapping into the request's own memory."""
        async with self._core.gate.showing(inode):
            mapping = self._core.upcalls.ask(inode.ino, round_down(pos, BLOCK))
            request = self._request(index)
            for word, value in (
                (ANSWER_MEMBER, mapping.member), (ANSWER_ADDR, mapping.addr),
                (ANSWER_START, mapping.offset), (ANSWER_END, mapping.end),
                (ANSWER_STATUS, ANSWERED),
            ):  # fmt: skip
                store64(request + word, value)
            return SERVE
