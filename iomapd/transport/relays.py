# SPDX-License-Identifier: MIT
"""The three loops that carry messages between the kernel and the server.

    /dev/fuse --relay_in--> pair --> server (pyfuse3)
                  |
                  +--> side pair --> server (what pyfuse3 cannot read)
    /dev/fuse <--relay_out-- pair <-- server
                    |
                    +--> notification queue --notifier--> /dev/fuse

Who may wait for whom is the whole point; docs/design/transport.md has the argument.  In short:
relay_out waits for nobody, so the server can always send; relay_in waits for the server
alone; the notifier waits for the kernel, and nobody waits for the notifier.

Plain functions over ``native/``; compiled they hold no interpreter lock.  Each returns how
it ended.  A hang-up of the pair (shutdown(2) from any thread) ends all of them.
"""

from __future__ import annotations

import errno
import select
import socket
from typing import Final

from iomapd.abi.fuse import (
    BATCH_FORGET,
    COPY_FILE_RANGE,
    COPY_FILE_RANGE_64,
    CREATE,
    FALLOCATE,
    FORGET,
    IN_HEADER_SIZE,
    IN_OPCODE,
    IN_UNIQUE,
    INTERRUPT,
    LSEEK,
    NOTIFY_REPLY,
    NOTIFY_UNIQUE,
    OPEN,
    OUT_ERROR,
    OUT_HEADER_SIZE,
    OUT_UNIQUE,
    STATX,
    TMPFILE,
)
from iomapd.native.memory import load16, load32, load64, store16, store32, store64
from iomapd.native.syscalls import ppoll, read, recv, send, write
from iomapd.transport.block import (
    IN_ERRNO,
    INTERRUPTED,
    MALFORMED,
    NOTIFICATIONS_DROPPED,
    NOTIFICATIONS_FAILED,
    NOTIFICATIONS_QUEUED,
    NOTIFICATIONS_SENT,
    NOTIFICATIONS_UNKNOWN,
    NOTIFIER_ERRNO,
    OPENS_EDITED,
    OUT_ERRNO,
    PAUSE,
    PENDING,
    POLLS,
    READ_ERRORS,
    REFUSAL,
    REFUSED,
    REPLIES,
    REQUESTS,
    SIDE,
    WRITE_ERRORS,
    count,
)
from iomapd.transport.edits import edit_open_reply, edit_request
from iomapd.transport.pending import OPENING, OPENS, remember, settle

# How a relay ended.  Zero is not among them: a compiled function that crashed returns it.
KERNEL_GONE: Final = 1  # unmounted or aborted
SERVER_GONE: Final = 2  # the pair was hung up, by a stop or by the server's end
FAILED: Final = 3  # an error that cannot be waited out; its errno is in the block
GO_ON: Final = 4  # not ended: what the steps inside a loop answer

EAGAIN: Final = int(errno.EAGAIN)
EINTR: Final = int(errno.EINTR)
EIO: Final = int(errno.EIO)
ENOBUFS: Final = int(errno.ENOBUFS)
ENODEV: Final = int(errno.ENODEV)
ENOENT: Final = int(errno.ENOENT)
ENOMEM: Final = int(errno.ENOMEM)
ECONNABORTED: Final = int(errno.ECONNABORTED)
ECONNRESET: Final = int(errno.ECONNRESET)
EMSGSIZE: Final = int(errno.EMSGSIZE)
ENOTCONN: Final = int(errno.ENOTCONN)
EPIPE: Final = int(errno.EPIPE)
MSG_DONTWAIT: Final = int(socket.MSG_DONTWAIT)
MSG_NOSIGNAL: Final = int(socket.MSG_NOSIGNAL)
MSG_TRUNC: Final = int(socket.MSG_TRUNC)
POLLIN: Final = int(select.POLLIN)

# A message needs contiguous kernel memory; fragmentation passes, so relay_in asks again.
SEND_ATTEMPTS: Final = 1000


def relay_in(dev: int, pair: int, block: int, message: int, size: int) -> int:
    """Carry requests from the kernel to the server until either is gone.

    Args:
        dev: /dev/fuse, O_NONBLOCK (a read that waits could not be ended by a stop).
        pair: our end of the socket pair, blocking.
        block: address of the shared block, see block.py.
        message: address of a buffer of its own.
        size: of the buffer, bytes; at least what the kernel was promised in INIT.

    Returns:
        KERNEL_GONE, SERVER_GONE or FAILED.
    """
    while True:
        length = read(dev, message, size)
        if length > 0:
            status = forward(dev, pair, block, block + PENDING, message, length)
            if status != GO_ON:
                return status
        elif length == -EAGAIN:
            if wait_for_request(dev, pair, block + POLLS) == SERVER_GONE:
                return SERVER_GONE
        else:
            status = no_request(block, length)
            if status != GO_ON:
                return status


def no_request(block: int, result: int) -> int:
    """Judge a read of /dev/fuse that brought no request; GO_ON, or how the reader ends.

    Args:
        block: address of the reader's block.
        result: of the read: 0 or a negated errno.
    """
    if result in (0, -ENODEV, -ECONNABORTED):
        return KERNEL_GONE
    if result == -EIO:
        # The kernel has ended a request that it could not hand over.
        count(block + READ_ERRORS)
    elif result not in (-EINTR, -ENOENT):
        store64(block + IN_ERRNO, -result)
        return FAILED
    return GO_ON


def wait_for_request(dev: int, pair: int, polls: int) -> int:
    """Wait until *dev* has something to say; SERVER_GONE when the pair is hung up, else GO_ON."""
    store32(polls, dev)
    store16(polls + 4, POLLIN)
    store32(polls + 8, pair)
    store16(polls + 12, 0)  # POLLHUP and POLLERR are reported unasked
    ready = ppoll(polls, 2, 0)
    if ready > 0 and load16(polls + 14) != 0:
        return SERVER_GONE
    return GO_ON


def forward(dev: int, pair: int, block: int, pending: int, message: int, length: int) -> int:
    """Edit one request, note it, and send it to the server; GO_ON, or how the relay ends.

    What pyfuse3 cannot read goes to the side pair, where the server reads it itself.  The
    counters, pause and refusal in *block* are the caller's alone; all who forward share the
    *pending* table.
    """
    if length < IN_HEADER_SIZE:
        count(block + READ_ERRORS)
        return GO_ON
    opcode = load32(message + IN_OPCODE)
    unique = load64(message + IN_UNIQUE)
    edit_request(message, length, opcode)
    # Before the send: the reply may be back before send returns.
    if wants_reply(opcode):
        remember(pending, unique, OPENS if opcode in (OPEN, CREATE) else 0)
    side = load64(block + SIDE)
    if side != 0 and goes_aside(opcode):
        pair = side
    for _ in range(SEND_ATTEMPTS):
        sent = send(pair, message, length, MSG_NOSIGNAL)
        if sent == length:
            count(block + REQUESTS)
            return GO_ON
        if sent in (-EPIPE, -ECONNRESET, -ENOTCONN):
            return SERVER_GONE
        if sent in (-ENOBUFS, -ENOMEM):
            ppoll(0, 0, block + PAUSE)
        elif sent != -EINTR:
            break
    store64(block + IN_ERRNO, -sent)
    count(block + REFUSED)
    if wants_reply(opcode):
        settle(pending, unique)
        refuse(dev, block, unique, EIO if sent == -EMSGSIZE else ENOMEM)
    return GO_ON


def goes_aside(opcode: int) -> bool:
    """Tell whether the server reads *opcode* from the side pair."""
    return opcode in (FALLOCATE, LSEEK, COPY_FILE_RANGE, COPY_FILE_RANGE_64, TMPFILE, STATX)


def wants_reply(opcode: int) -> bool:
    """Tell whether the kernel waits for an answer to *opcode*."""
    return opcode not in (FORGET, BATCH_FORGET, INTERRUPT, NOTIFY_REPLY)


def refuse(dev: int, block: int, unique: int, error: int) -> int:
    """Answer request *unique* with *error* (a positive errno); result of the write."""
    header = block + REFUSAL
    store32(header + OUT_ERROR, -error)
    store64(header + OUT_UNIQUE, unique)
    return write(dev, header, OUT_HEADER_SIZE)


def relay_out(dev: int, pair: int, queue: int, block: int, message: int, size: int) -> int:
    """Carry replies from the server to the kernel until the pair is hung up.

    It goes on taking replies when the kernel is gone: a server that waits in a send, holding
    the interpreter lock, could not be told the end otherwise.

    Args:
        dev: /dev/fuse.
        pair: our end of the socket pair.
        queue: our end of the notification queue; notifications go there, never to *dev*.
        block: address of the shared block.
        message: address of a buffer of its own.
        size: of the buffer, bytes.

    Returns:
        SERVER_GONE or FAILED.
    """
    while True:
        length = recv(pair, message, size, MSG_TRUNC)
        if length in (0, -ECONNRESET, -EPIPE, -ENOTCONN):
            return SERVER_GONE
        if length >= OUT_HEADER_SIZE:
            unique = load64(message + OUT_UNIQUE)
            if unique == NOTIFY_UNIQUE:
                enqueue(queue, block, message, length, size)
            elif length > size:
                count(block + MALFORMED)
                settle(block + PENDING, unique)
                store32(message + OUT_ERROR, -EIO)
                store32(message, OUT_HEADER_SIZE)
                answer(dev, block, message, OUT_HEADER_SIZE)
            else:
                if settle(block + PENDING, unique) == OPENING and edit_open_reply(message, length):
                    count(block + OPENS_EDITED)
                answer(dev, block, message, length)
        elif length > 0:
            count(block + MALFORMED)
        elif length not in (-EINTR, -ENOBUFS, -ENOMEM):
            store64(block + OUT_ERRNO, -length)
            return FAILED


def answer(dev: int, block: int, message: int, length: int) -> None:
    """Write one reply to the kernel and count what became of it."""
    written = write(dev, message, length)
    while written == -EINTR:
        written = write(dev, message, length)
    if written == length:
        count(block + REPLIES)
    elif written == -ENOENT:
        count(block + INTERRUPTED)
    else:
        store64(block + OUT_ERRNO, -written)
        count(block + WRITE_ERRORS)


def enqueue(queue: int, block: int, message: int, length: int, size: int) -> None:
    """Queue one notification for the notifier; drop and count it when that would wait."""
    sent = -EMSGSIZE
    if length <= size:
        sent = send(queue, message, length, MSG_DONTWAIT | MSG_NOSIGNAL)
    if sent == length:
        count(block + NOTIFICATIONS_QUEUED)
    else:
        count(block + NOTIFICATIONS_DROPPED)


def notifier(dev: int, queue: int, block: int, message: int, size: int) -> int:
    """Write queued notifications to the kernel until the queue is hung up.

    The kernel may keep a notification waiting for a page that a READ holds, and that READ for
    its reply: so this loop has a thread of its own.

    Returns:
        SERVER_GONE or FAILED.
    """
    while True:
        length = recv(queue, message, size, 0)
        if length > 0:
            written = write(dev, message, length)
            if written == length:
                count(block + NOTIFICATIONS_SENT)
            elif written == -ENOENT:
                count(block + NOTIFICATIONS_UNKNOWN)
            else:
                store64(block + NOTIFIER_ERRNO, -written)
                count(block + NOTIFICATIONS_FAILED)
        elif length in (0, -ECONNRESET, -EPIPE, -ENOTCONN):
            return SERVER_GONE
        elif length not in (-EINTR, -ENOBUFS, -ENOMEM):
            store64(block + NOTIFIER_ERRNO, -length)
            return FAILED
