# SPDX-License-Identifier: MIT
"""What the relays change in passing messages; the table stands in ``abi/fuse.py``.

Everything here works on one message in memory, ``length`` bytes at address ``message``, and
leaves alone what is too short to be what it claims.
"""

from __future__ import annotations

from iomapd.abi.fuse import (
    CREATE,
    CREATE_END,
    CREATE_FLAGS,
    CREATE_OPEN_FLAGS,
    CREATE_REPLY_FLAGS,
    CREATE_REPLY_SIZE,
    FATTR_FH,
    FATTR_KILL_SUIDGID,
    FH_DSYNC,
    FH_KILL_SUIDGID,
    FH_NONE,
    FH_SYNC,
    FH_WRITE_CACHE,
    FOPEN_DIRECT_IO,
    FOPEN_PARALLEL_DIRECT_WRITES,
    FUSE_OPEN_KILL_SUIDGID,
    FUSE_WRITE_CACHE,
    FUSE_WRITE_KILL_SUIDGID,
    O_DSYNC,
    O_SYNC_ONLY,
    OPEN,
    OPEN_END,
    OPEN_FLAGS,
    OPEN_KILL_SUIDGID,
    OPEN_OPEN_FLAGS,
    OPEN_REPLY_FLAGS,
    OPEN_REPLY_SIZE,
    SETATTR,
    SETATTR_END,
    SETATTR_FH,
    SETATTR_VALID,
    WRITE,
    WRITE_END,
    WRITE_FH,
    WRITE_FLAGS,
    WRITE_OPEN_FLAGS,
)
from iomapd.native.memory import load32, load64, store32, store64


def edit_request(message: int, length: int, opcode: int) -> None:
    """Move what libfuse or pyfuse3 would drop into fields that they hand on."""
    if opcode == WRITE and length >= WRITE_END:
        _edit_write(message)
    elif opcode == SETATTR and length >= SETATTR_END:
        _edit_setattr(message)
    elif opcode == OPEN and length >= OPEN_END:
        _edit_open(message + OPEN_FLAGS, message + OPEN_OPEN_FLAGS)
    elif opcode == CREATE and length >= CREATE_END:
        _edit_open(message + CREATE_FLAGS, message + CREATE_OPEN_FLAGS)


def _edit_write(message: int) -> None:
    write_flags = load32(message + WRITE_FLAGS)
    open_flags = load32(message + WRITE_OPEN_FLAGS)
    marks = 0
    if open_flags & O_DSYNC:
        marks |= FH_DSYNC
    if open_flags & O_SYNC_ONLY:
        marks |= FH_DSYNC | FH_SYNC
    if write_flags & FUSE_WRITE_KILL_SUIDGID:
        marks |= FH_KILL_SUIDGID
    if write_flags & FUSE_WRITE_CACHE:
        marks |= FH_WRITE_CACHE
    if marks:
        store64(message + WRITE_FH, load64(message + WRITE_FH) | marks)


def _edit_setattr(message: int) -> None:
    valid = load32(message + SETATTR_VALID)
    if not valid & FATTR_KILL_SUIDGID:
        return
    # libfuse hands fh on only under FATTR_FH, so a request without a handle gets "none".
    fh = load64(message + SETATTR_FH) if valid & FATTR_FH else FH_NONE
    store64(message + SETATTR_FH, fh | FH_KILL_SUIDGID)
    store32(message + SETATTR_VALID, valid | FATTR_FH)


def _edit_open(flags: int, fuse_flags: int) -> None:
    if load32(fuse_flags) & FUSE_OPEN_KILL_SUIDGID:
        store32(flags, load32(flags) | OPEN_KILL_SUIDGID)


def edit_open_reply(message: int, length: int) -> int:
    """Let direct writes of one file run side by side, if the reply opens it for direct I/O.

    Returns:
        1 when the reply was changed, else 0.
    """
    if length == OPEN_REPLY_SIZE:
        at = message + OPEN_REPLY_FLAGS
    elif length == CREATE_REPLY_SIZE:
        at = message + CREATE_REPLY_FLAGS
    else:
        return 0
    flags = load32(at)
    if not flags & FOPEN_DIRECT_IO:
        return 0
    store32(at, flags | FOPEN_PARALLEL_DIRECT_WRITES)
    return 1
