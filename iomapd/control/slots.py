# SPDX-License-Identifier: MIT
"""Slots and HOLD: how requests and changes of an inode keep out of each other's way.

A request *shows* the inode it works on, from before it looks at size, extents or marks until its
last member I/O is over.  Whoever lowers size, changes extents under data or clears marks holds
the inode and waits until no slot shows it; requests that come meanwhile queue.  So every request
ends in the state it began in, and freed space is never still being read.

Two kinds of requests show inodes.  Tasks of the event loop do it here, and the event loop is
their lock: there is no checkpoint between the test of ``held`` and the change of ``slots``.
Lanes do it on the slot board and look at their entry's ``hold`` (`cache.entry`); one that
finds itself held withdraws and forwards its request, which then queues here with the rest.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from iomapd.cache.board import SlotBoard
    from iomapd.cache.inode import Inode
    from iomapd.cache.table import SharedTable

# A lane leaves within one member I/O; who waits for a slow one need not look often.
FIRST_PAUSE_S: Final = 20e-6
LONGEST_PAUSE_S: Final = 2e-3


class Gate:
    """Lets requests in to inodes and keeps them out, for one mount.

    Args:
        shared: the entries that lanes see.
        board: the lanes' slots.
    """

    def __init__(self, shared: SharedTable, board: SlotBoard) -> None:
        self._shared = shared
        self._board = board

    @asynccontextmanager
    async def showing(self, inode: Inode) -> AsyncIterator[None]:
        """Show *inode* for the duration; waits while it is held."""
        while inode.held:
            await _lot(inode).park()
        inode.slots += 1
        try:
            yield
        finally:
            inode.slots -= 1
            _wake(inode)

    @asynccontextmanager
    async def holding(self, inode: Inode) -> AsyncIterator[None]:
        """Hold *inode* for the duration: nobody works on it, new requests wait."""
        while inode.held:
            await _lot(inode).park()
        inode.held = True
        try:
            while inode.slots:
                await _lot(inode).park()
            async with self.quiet(inode):
                yield
        finally:
            inode.held = False
            _wake(inode)

    @asynccontextmanager
    async def quiet(self, inode: Inode) -> AsyncIterator[None]:
        """Keep lanes alone away from *inode* for the duration; tasks go on.

        Lanes wait for nobody while they show an inode, so this may be asked for by who shows it.
        """
        inode.lane_holds += 1
        if inode.entry:
            self._shared.hold(inode.entry)
        try:
            pause = FIRST_PAUSE_S
            while inode.entry and self._board.shows(inode.ino):
                await trio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
            yield
        finally:
            inode.lane_holds -= 1
            if inode.entry:
                self._shared.release(inode.entry)


def _lot(inode: Inode) -> trio.lowlevel.ParkingLot:
    if inode.waiting is None:
        inode.waiting = trio.lowlevel.ParkingLot()
    assert isinstance(inode.waiting, trio.lowlevel.ParkingLot)
    return inode.waiting


def _wake(inode: Inode) -> None:
    # Everybody looks again at what they wait for; only holders and their queue
    # ever park, so the lot is nearly always empty.
    if inode.waiting is not None:
        _lot(inode).unpark_all()
