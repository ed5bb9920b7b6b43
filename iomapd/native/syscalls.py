# SPDX-License-Identifier: MIT
"""System calls in the kernel's own convention: a result, or ``-errno``.

Only `syscall` has a compiled twin (one instruction, see ``jit/natives.py``); the functions below
it are ordinary code on top, interpreted and compiled from the same text.  A call that waits
does not hold the interpreter lock, in either world.

The numbers are those of x86-64.  Another architecture needs its own numbers here and its own
instruction in ``jit/natives.py``; `compiled_here` says whether this one has both.
"""

from __future__ import annotations

import ctypes
import platform
from typing import Final

NR_READ: Final = 0
NR_WRITE: Final = 1
NR_READV: Final = 19
NR_WRITEV: Final = 20
NR_SENDTO: Final = 44
NR_RECVFROM: Final = 45
NR_READAHEAD: Final = 187
NR_IO_SETUP: Final = 206
NR_IO_DESTROY: Final = 207
NR_IO_GETEVENTS: Final = 208
NR_IO_SUBMIT: Final = 209
NR_CLOCK_GETTIME: Final = 228
NR_PPOLL: Final = 271
NR_PREADV: Final = 295
NR_PWRITEV: Final = 296
NR_PROCESS_VM_READV: Final = 310

IOV_SIZE: Final = 16
"""Bytes of a ``struct iovec``: base u64, length u64."""

IOV_MAX: Final = 1024
"""Entries that one vectored call takes (UIO_MAXIOV)."""

CLOCK_REALTIME: Final = 0

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.syscall.argtypes = [ctypes.c_long] * 7


def compiled_here() -> bool:
    """Tell whether this machine's architecture has system call numbers here."""
    return platform.machine() == "x86_64"


def syscall(number: int, a: int, b: int, c: int, d: int, e: int, f: int) -> int:
    """Make system call *number*; unused arguments are 0.

    Returns:
        The kernel's result, or the negated errno.
    """
    result: int = _libc.syscall(number, a, b, c, d, e, f)
    return result if result != -1 else -ctypes.get_errno()


def read(fd: int, addr: int, size: int) -> int:
    """Take up to *size* bytes from *fd* to *addr*: `man 2 read`."""
    return syscall(NR_READ, fd, addr, size, 0, 0, 0)


def write(fd: int, addr: int, size: int) -> int:
    """Give the *size* bytes at *addr* to *fd*: `man 2 write`."""
    return syscall(NR_WRITE, fd, addr, size, 0, 0, 0)


def recv(fd: int, addr: int, size: int, flags: int) -> int:
    """Take one message of up to *size* bytes from *fd* to *addr*: `man 2 recv`.

    With MSG_TRUNC in *flags* the result is the length of the message, even above *size*.
    """
    return syscall(NR_RECVFROM, fd, addr, size, flags, 0, 0)


def send(fd: int, addr: int, size: int, flags: int) -> int:
    """Give the *size* bytes at *addr* to *fd* as one message: `man 2 send`."""
    return syscall(NR_SENDTO, fd, addr, size, flags, 0, 0)


def ppoll(addr: int, count: int, timeout_addr: int) -> int:
    """Wait for one of the *count* ``struct pollfd`` at *addr*: `man 2 ppoll`.

    Args:
        addr: address of the array; 8 bytes each: fd i32, events i16, revents i16.
        count: number of entries.
        timeout_addr: address of a ``struct timespec``, or 0 to wait without end.
    """
    return syscall(NR_PPOLL, addr, count, timeout_addr, 0, 0, 0)


def writev(fd: int, iov: int, count: int) -> int:
    """Give what the *count* entries of the ``struct iovec`` array at *iov* describe to *fd*."""
    return syscall(NR_WRITEV, fd, iov, count, 0, 0, 0)


def preadv(fd: int, iov: int, count: int, pos: int) -> int:
    """Fill the *count* buffers at *iov* from position *pos* of *fd*: `man 2 preadv`."""
    return syscall(NR_PREADV, fd, iov, count, pos, 0, 0)


def pwritev(fd: int, iov: int, count: int, pos: int) -> int:
    """Write the *count* buffers at *iov* to position *pos* of *fd*: `man 2 pwritev`."""
    return syscall(NR_PWRITEV, fd, iov, count, pos, 0, 0)


def process_vm_readv(pid: int, local: int, nr_local: int, remote: int, nr_remote: int) -> int:
    """Copy memory of process *pid* into one's own: `man 2 process_vm_readv`.

    With one's own *pid* it is a copy that ends at a bad page instead of raising a signal.

    Args:
        pid: whose memory is read.
        local: address of a ``struct iovec`` array, filled in its order.
        nr_local: entries, at most IOV_MAX.
        remote: address of another one, of addresses in that process.
        nr_remote: entries, at most IOV_MAX.
    """
    return syscall(NR_PROCESS_VM_READV, pid, local, nr_local, remote, nr_remote, 0)


def readahead(fd: int, pos: int, count: int) -> int:
    """Begin to bring *count* bytes at *pos* into the page cache: `man 2 readahead`."""
    return syscall(NR_READAHEAD, fd, pos, count, 0, 0, 0)


def io_setup(nr_events: int, context: int) -> int:
    """Make a context of Linux AIO for *nr_events* at a time; its id goes to the word at *context*.

    The word holds 0 before: `man 2 io_setup`.
    """
    return syscall(NR_IO_SETUP, nr_events, context, 0, 0, 0, 0)


def io_destroy(context: int) -> int:
    """End a context, when all that was submitted to it is over: `man 2 io_destroy`."""
    return syscall(NR_IO_DESTROY, context, 0, 0, 0, 0, 0)


def io_submit(context: int, count: int, pointers: int) -> int:
    """Begin the I/O of the ``struct iocb`` that *count* pointers at *pointers* lead to.

    Returns:
        How many were begun, from the first on: `man 2 io_submit`.
    """
    return syscall(NR_IO_SUBMIT, context, count, pointers, 0, 0, 0)


def io_getevents(context: int, least: int, most: int, events: int) -> int:
    """Wait until *least* are over; take up to *most* ``struct io_event`` to *events*."""
    return syscall(NR_IO_GETEVENTS, context, least, most, events, 0, 0)


def clock_gettime(clock: int, timespec: int) -> int:
    """Write the time of *clock* to the ``struct timespec`` (s i64, ns i64) at *timespec*."""
    return syscall(NR_CLOCK_GETTIME, clock, timespec, 0, 0, 0, 0)
