# SPDX-License-Identifier: MIT
"""INIT: the one exchange that the transport conducts in plain Python, and rewrites.

    FIELD                       LIBFUSE 3.14 SAYS     WE SAY
    max_write, max_pages        1 MiB, 256            what the pair, the kernel and libfuse carry
    max_background              0 (kernel: 12)        Wishes.max_background
    congestion_threshold        0 (kernel: 9)         three quarters of it
    max_readahead               the kernel's offer    Wishes.read_ahead (the bdi still rules)
    time_gran                   1                     1
    AUTO_INVAL_DATA             on                    off: our own mtime changes must not drop
    EXPLICIT_INVAL_DATA         off                   on:  the page cache
    HANDLE_KILLPRIV_V2          off                   on: no GETXATTR for each cached write
    DIRECT_IO_ALLOW_MMAP        off                   on: mmap of files opened for direct I/O
    EXPORT_SUPPORT              off                   off: lookups by inode number alone fail
    WRITEBACK_CACHE             off                   Wishes.writeback

A capability is accepted only when the kernel offers it; all else stays as libfuse answered.
"""

from __future__ import annotations

import errno
import os
import select
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from iomapd.abi.fuse import (
    BUFFER_HEADER_SIZE,
    IN_HEADER_SIZE,
    INIT,
    INIT_AUTO_INVAL_DATA,
    INIT_DIRECT_IO_ALLOW_MMAP,
    INIT_EXPLICIT_INVAL_DATA,
    INIT_EXPORT_SUPPORT,
    INIT_EXT,
    INIT_HANDLE_KILLPRIV_V2,
    INIT_MAX_PAGES,
    INIT_WRITEBACK_CACHE,
    OUT_HEADER_SIZE,
    OUT_HEADER_STRUCT,
    InitIn,
    InitOut,
)
from iomapd.errors import MountError
from iomapd.transport.relays import KERNEL_GONE, SERVER_GONE

if TYPE_CHECKING:
    import socket

_PAGE: Final = 4096
_DEFAULT_MAX_PAGES: Final = 32  # FUSE_DEFAULT_MAX_PAGES_PER_REQ, without INIT_MAX_PAGES
_PAGES_LIMIT: Final = Path("/proc/sys/fs/fuse/max_pages_limit")
_PAGES_LIMIT_BEFORE: Final = 256  # FUSE_MAX_MAX_PAGES, until Linux 6.13 made it a sysctl
_UNWANTED: Final = INIT_EXPORT_SUPPORT | INIT_WRITEBACK_CACHE
_WANTED: Final = INIT_EXPLICIT_INVAL_DATA | INIT_HANDLE_KILLPRIV_V2 | INIT_DIRECT_IO_ALLOW_MMAP


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a mount asks for; each may be cut down to what can be had.

    Attributes:
        max_pages: pages of 4 KiB in one request.
        max_background: asynchronous requests (read-ahead, direct asynchronous I/O) at a time.
        read_ahead: bytes that buffered reading may run ahead.
        writeback: the kernel may keep what is written, and send it later.
    """

    max_pages: int = 256
    max_background: int = 64
    read_ahead: int = 4 << 20
    writeback: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """What kernel and server have agreed on.

    Attributes:
        max_write: bytes of data in one WRITE, and in one READ.
        max_pages: the same in pages.
        max_background: asynchronous requests at a time.
        congestion_threshold: of those, how many make the kernel hold back.
        max_readahead: bytes, as accepted; the bdi's read_ahead_kb bounds it further.
        flags: capabilities in force, INIT_* of abi/fuse.py.
        protocol: minor version that the kernel speaks.
    """

    max_write: int
    max_pages: int
    max_background: int
    congestion_threshold: int
    max_readahead: int
    flags: int
    protocol: int


class HandshakeEnded(Exception):
    """The kernel or the server went away before INIT was done.

    Attributes:
        status: KERNEL_GONE or SERVER_GONE, as a relay would say.
    """

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def negotiate(offer: InitIn, reply: InitOut, wishes: Wishes, capacity: int) -> InitOut:
    """Rewrite the server's answer to INIT by the table above.

    Args:
        offer: the kernel's request.
        reply: libfuse's answer.
        wishes: what the mount asks for.
        capacity: largest message that the pair carries, bytes.

    Raises:
        MountError: the pair carries less than one page of data.
    """
    wanted = _WANTED | INIT_EXT | (INIT_WRITEBACK_CACHE if wishes.writeback else 0)
    flags = (reply.flags & ~_UNWANTED) | (offer.flags & wanted)
    if flags & INIT_EXPLICIT_INVAL_DATA:
        flags &= ~INIT_AUTO_INVAL_DATA
    pages = _pages(offer, reply, wishes, capacity)
    background = min(wishes.max_background, 0xFFFF)
    return reply._replace(
        flags=flags,
        max_write=pages * _PAGE,
        max_pages=pages if flags & INIT_MAX_PAGES else 0,
        max_background=background,
        congestion_threshold=background * 3 // 4,
        max_readahead=max(reply.max_readahead, wishes.read_ahead),
        time_gran=1,
    )


def _pages(offer: InitIn, reply: InitOut, wishes: Wishes, capacity: int) -> int:
    """Pages per request: the least of all who carry it, as a power of two."""
    kernel = pages_limit() if offer.flags & INIT_MAX_PAGES else _DEFAULT_MAX_PAGES
    pair = (capacity - BUFFER_HEADER_SIZE) // _PAGE
    pages = min(wishes.max_pages, kernel, pair, reply.max_write // _PAGE)
    if pages < 1:
        raise MountError(f"a socket pair that carries {capacity} bytes is too small for one page")
    # A power of two keeps requests on stripe unit boundaries.
    return 1 << (pages.bit_length() - 1)


def pages_limit() -> int:
    """Return how many pages this kernel allows in one request."""
    try:
        return int(_PAGES_LIMIT.read_text())
    except (OSError, ValueError):
        return _PAGES_LIMIT_BEFORE


def shake_hands(dev: int, pair: socket.socket, wishes: Wishes, capacity: int) -> Limits:
    """Carry INIT to the server and its rewritten answer to the kernel.

    Waits for both; a hang-up of *pair* ends the wait.

    Raises:
        HandshakeEnded: the kernel or the server left.
        MountError: one of them does not speak protocol 7.
    """
    request = _read_request(dev, pair)
    opcode, unique = struct.unpack_from("<4xIQ", request)
    if opcode != INIT:
        raise MountError(f"the kernel's first request has opcode {opcode}; INIT is {INIT}")
    offer = InitIn.unpack(request[IN_HEADER_SIZE:])
    try:
        pair.send(request)
        answer = pair.recv(capacity)
    except ConnectionError:
        answer = b""
    if not answer:
        raise HandshakeEnded(SERVER_GONE)
    _, error, _ = OUT_HEADER_STRUCT.unpack_from(answer)
    if error or len(answer) != OUT_HEADER_SIZE + 64:
        os.write(dev, answer)
        raise MountError(f"the server refused INIT of protocol 7.{offer.minor}: error {-error}")
    agreed = negotiate(offer, InitOut.unpack(answer[OUT_HEADER_SIZE:]), wishes, capacity)
    _write(dev, OUT_HEADER_STRUCT.pack(len(answer), 0, unique) + agreed.pack())
    return Limits(
        agreed.max_write, agreed.max_pages, agreed.max_background, agreed.congestion_threshold,
        agreed.max_readahead, agreed.flags, offer.minor,
    )  # fmt: skip


def _read_request(dev: int, pair: socket.socket) -> bytes:
    """Read the first request from *dev*, which is O_NONBLOCK."""
    poll = select.poll()
    poll.register(dev, select.POLLIN)
    poll.register(pair, 0)
    while True:
        if any(fd == pair.fileno() for fd, _ in poll.poll()):
            raise HandshakeEnded(SERVER_GONE)
        try:
            return os.read(dev, 1 << 20)
        except OSError as error:
            _raise_if_gone(error)
            if error.errno not in (errno.EAGAIN, errno.EINTR, errno.ENOENT):
                raise MountError(f"reading INIT from /dev/fuse: {error.strerror}") from error


def _write(dev: int, message: bytes) -> None:
    try:
        os.write(dev, message)
    except OSError as error:
        _raise_if_gone(error)
        # The kernel ended INIT with this error; the mount is dead.
        raise MountError(f"the kernel did not take the answer to INIT: {error.strerror}") from error


def _raise_if_gone(error: OSError) -> None:
    if error.errno in (errno.ENODEV, errno.ENOENT, errno.ECONNABORTED):
        raise HandshakeEnded(KERNEL_GONE) from error
