# SPDX-License-Identifier: MIT
"""Serve one READ or WRITE from its message to its reply, without Python.

    show -> find entry -> hold? -> size, marks, extents -> pieces -> member I/O -> reply -> withdraw

The order of a write is what durability rests on:

    member I/O -> TOUCHED -> marks -> MARKED -> size, times, DIRTY -> reply

Whoever reads a mark reads new data; whoever takes a size has seen the marks below it; whoever takes
marks finds the member in TOUCHED.  What cannot be done in this way is forwarded before anything
is done: first writes to a part of a block, writes that leave a gap behind stale bytes,
writes that must be durable, inodes that are held.
"""

from __future__ import annotations

from typing import Final

from iomapd.abi.fuse import (
    FUSE_WRITE_CACHE,
    IN_NODEID,
    IN_OPCODE,
    IO_END,
    IO_OFFSET,
    IO_SIZE,
    O_DSYNC,
    O_SYNC_ONLY,
    READ,
    WRITE,
    WRITE_FLAGS,
    WRITE_OPEN_FLAGS,
)
from iomapd.abi.units import BLOCK
from iomapd.cache.entry import (
    ATIME,
    COOKIE,
    CTIME,
    DIRTY,
    FORWARD_ALL,
    FORWARD_WRITES,
    HOLD,
    INO,
    MARKED,
    MTIME,
    SIZE,
    TOUCHED,
    find_entry,
    note_write,
    show,
    withdraw,
)
from iomapd.cache.entry import EXTENTS as ENTRY_EXTENTS
from iomapd.cache.entry import FLAGS as ENTRY_FLAGS
from iomapd.dataplane.content import fills_part, leaves_gap, mark_written
from iomapd.dataplane.gather import gather, miss, survey
from iomapd.dataplane.plane import (
    CLOCK,
    DIRECT,
    ENTRIES,
    FILE_END,
    FLAGS,
    KERNEL_TIMES,
    NO_ATIME,
    NR_BUCKETS,
    READ_ONLY,
)
from iomapd.dataplane.reply import reply_empty, reply_written
from iomapd.dataplane.request import (
    ANSWER_STATUS,
    BUFFER,
    DATA_MAX,
    EXTENTS,
    FAILED,
    FORWARD_FAILED,
    FORWARD_FLAGGED,
    FORWARD_HELD,
    FORWARD_OTHER,
    FORWARD_PARTIAL,
    FORWARD_SYNC,
    FORWARD_UNALIGNED,
    GO_ON,
    LENGTH,
    MESSAGE,
    MISS,
    MODES,
    NO_ANSWER,
    NR_PIECES,
    ORIGIN,
    SERVED,
    SLOT,
    TIMESPEC,
    TOUCH,
    WALKED,
)
from iomapd.dataplane.request import COOKIE as REQUEST_COOKIE
from iomapd.dataplane.statistics import count_served
from iomapd.dataplane.transfer import read_pieces, write_pieces
from iomapd.native.calls import call2
from iomapd.native.memory import (
    fetch_add,
    fetch_or,
    load32,
    load64,
    load_acquire,
    store64,
    store_release,
)
from iomapd.native.syscalls import CLOCK_REALTIME

_NS: Final = 1_000_000_000


def serve(plane: int, request: int, stats: int) -> int:
    """Serve the message in *request*.

    Args:
        plane: address of the mount's plane.
        request: address of the request buffer, the caller's alone.
        stats: address of the calling thread's counters.

    Returns:
        SERVED: replied, maybe with an error.
        PARK: a mapping is missing, see MISSING; serve it again when it may be there.
        FORWARD_*: nothing was done; the control plane takes the message as it is.
    """
    message = load64(request + MESSAGE)
    length = load64(request + LENGTH)
    opcode = load32(message + IN_OPCODE)
    if length < IO_END or opcode not in (READ, WRITE):
        return FORWARD_OTHER
    pos = load64(message + IO_OFFSET)
    count = load32(message + IO_SIZE)
    if pos < 0 or count == 0 or count > DATA_MAX or pos > load64(plane + FILE_END) - count:
        return FORWARD_OTHER
    if opcode == WRITE and count > length - IO_END:
        return FORWARD_OTHER
    ino = load64(message + IN_NODEID)
    slot = load64(request + SLOT)
    show(slot, ino)
    status = serve_shown(plane, request, stats, ino, pos, pos + count)
    withdraw(slot)
    return status


def serve_shown(plane: int, request: int, stats: int, ino: int, pos: int, end: int) -> int:
    """Serve it while its inode is shown."""
    entry = find_entry(load64(plane + ENTRIES), load64(plane + NR_BUCKETS), ino)
    if entry == 0:
        return miss(request, MISS, pos, end)
    if load_acquire(entry + HOLD) != 0:
        return FORWARD_HELD
    # Behind the hold: an entry found just before its inode lost it may be another's by now.
    if load_acquire(entry + INO) != ino:
        return miss(request, MISS, pos, end)
    if load64(entry + ENTRY_FLAGS) & FORWARD_ALL != 0:
        return FORWARD_FLAGGED
    if load32(load64(request + MESSAGE) + IN_OPCODE) == READ:
        return serve_read(plane, request, stats, entry, pos, end)
    return serve_write(plane, request, stats, entry, pos, end)


def take_extents(request: int, entry: int) -> int:
    """Choose the extent block that the request works with; return the size seen before it.

    The size first: extents come before the writes that raise it, so a block chosen in this order
    covers every byte below it.  One block from here on: a miss elsewhere in the file may
    publish another meanwhile.
    """
    size = load_acquire(entry + SIZE)
    store64(request + EXTENTS, load_acquire(entry + ENTRY_EXTENTS))
    return size


def begin(request: int, entry: int, pos: int) -> None:
    """Begin the pieces at *pos*, or keep those gathered so far: the inode's map is unchanged."""
    cookie = load_acquire(entry + COOKIE)
    if load64(request + REQUEST_COOKIE) != cookie:
        store64(request + REQUEST_COOKIE, cookie)
        store64(request + NR_PIECES, 0)
        store64(request + WALKED, pos)
        store64(request + ANSWER_STATUS, NO_ANSWER)


def serve_read(plane: int, request: int, stats: int, entry: int, pos: int, end: int) -> int:
    """Serve a READ of [pos, end)."""
    end = min(end, take_extents(request, entry))
    if pos >= end:
        reply_empty(plane, request, stats)
        count_served(request, stats, 0, 0)
        return SERVED
    begin(request, entry, pos)
    status = gather(plane, request, entry, end, 0)
    if status == GO_ON:
        status = survey(plane, request)
    if status != GO_ON:
        return status
    raise_atime(plane, request, entry)
    # The block that holds pos begins the buffer, so a direct member can fill whole blocks.
    store64(request + ORIGIN, load64(request + BUFFER) - (pos & -BLOCK))
    status = read_pieces(plane, request, stats, end - pos)
    if status == FAILED:
        return FORWARD_FAILED
    if status != GO_ON:
        return status
    count_served(request, stats, 0, end - pos)
    return SERVED


def serve_write(plane: int, request: int, stats: int, entry: int, pos: int, end: int) -> int:
    """Serve a WRITE of [pos, end)."""
    message = load64(request + MESSAGE)
    if load64(plane + FLAGS) & READ_ONLY or load64(entry + ENTRY_FLAGS) & FORWARD_WRITES:
        return FORWARD_FLAGGED
    if load32(message + WRITE_OPEN_FLAGS) & (O_DSYNC | O_SYNC_ONLY) != 0:
        return FORWARD_SYNC
    size = take_extents(request, entry)
    extents = load64(request + EXTENTS)
    if leaves_gap(extents, size, pos) or fills_part(extents, pos, end):
        return FORWARD_PARTIAL
    begin(request, entry, pos)
    status = gather(plane, request, entry, end, 1)
    if status == GO_ON:
        status = survey(plane, request)
    if status != GO_ON:
        return status
    if load64(request + MODES) & (1 << DIRECT) != 0 and (pos | end) % BLOCK != 0:
        return FORWARD_UNALIGNED
    store64(request + ORIGIN, load64(request + BUFFER) - pos)
    status = write_pieces(plane, request, stats)
    if status not in (GO_ON, FAILED):
        return status
    # Also when it failed: some of it may be in a member's cache.
    fetch_or(entry + TOUCHED, load64(request + TOUCH))
    if status == FAILED:
        # Nothing is marked, so the control plane can do all of it again, and tell why it failed.
        return FORWARD_FAILED
    finish_write(plane, request, entry, pos, end)
    reply_written(plane, request, stats, end - pos)
    count_served(request, stats, 1, end - pos)
    return SERVED


def finish_write(plane: int, request: int, entry: int, pos: int, end: int) -> None:
    """The bytes are in the members: mark them, then let size and times follow."""
    if mark_written(load64(request + EXTENTS), pos, end) > 0:
        fetch_add(entry + MARKED, 1)
    cached = load32(load64(request + MESSAGE) + WRITE_FLAGS) & FUSE_WRITE_CACHE != 0
    # Without a writeback cache, what a shared mapping wrote comes as if there were one.
    keeps_times = load64(plane + FLAGS) & KERNEL_TIMES != 0
    now = 0 if cached and keeps_times else now_ns(plane, request)
    note_write(entry, end, now)


def raise_atime(plane: int, request: int, entry: int) -> None:
    """Do what relatime asks while a request comes by; a day's age is the control plane's matter."""
    if load64(plane + FLAGS) & (READ_ONLY | NO_ATIME) != 0:
        return
    atime = load64(entry + ATIME)
    if atime <= load64(entry + MTIME) or atime <= load64(entry + CTIME):
        store64(entry + ATIME, now_ns(plane, request))
        store_release(entry + DIRTY, 1)


def now_ns(plane: int, request: int) -> int:
    """Return the time, ns since the epoch, by the clock of the control plane."""
    call2(load64(plane + CLOCK), CLOCK_REALTIME, request + TIMESPEC)
    return load64(request + TIMESPEC) * _NS + load64(request + TIMESPEC + 8)
