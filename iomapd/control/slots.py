# SPDX-License-Identifier: MIT
"""Slots and HOLD: how requests and changes of an inode keep out of each other's way.

A request *shows* the inode it works on, from before it looks at size, extents or
marks until its last member I/O is over.  Whoever lowers size, changes extents
under data or clears marks sets HOLD and waits until no slot shows the inode;
requests that come meanwhile queue here.  So every request ends in the state it
began in, and freed space is never still being read.

The event loop is the lock: there is no checkpoint between the test of ``held``
and the change of ``slots``.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from iomapd.cache.inode import Inode


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


@asynccontextmanager
async def showing(inode: Inode) -> AsyncIterator[None]:
    """Show *inode* in a slot for the duration; waits while it is held."""
    while inode.held:
        await _lot(inode).park()
    inode.slots += 1
    try:
        yield
    finally:
        inode.slots -= 1
        _wake(inode)


@asynccontextmanager
async def holding(inode: Inode) -> AsyncIterator[None]:
    """Hold *inode* for the duration: no slot shows it, new requests wait."""
    while inode.held:
        await _lot(inode).park()
    inode.held = True
    try:
        while inode.slots:
            await _lot(inode).park()
        yield
    finally:
        inode.held = False
        _wake(inode)
