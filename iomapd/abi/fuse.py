# SPDX-License-Identifier: MIT
"""The kernel's FUSE messages, as far as the transport looks into them.

Names and values follow ``include/uapi/linux/fuse.h`` of protocol 7.45 (Linux 6.18).
A request is ``fuse_in_header``, the structure of its opcode, then names or data; a reply is
``fuse_out_header`` and the structures of its opcode.  Offsets below count from the start of the
message, so that compiled code adds one number to one address.

What passes the transport is edited, because libfuse 3.14 and pyfuse3 3.5 drop fields that the
server must know.  This table is the whole agreement between the transport and ``fuse/``:

    MESSAGE           WHEN                             WHAT CHANGES
    WRITE             O_DSYNC in write_in.flags        fh |= FH_DSYNC
                      O_SYNC in write_in.flags         fh |= FH_SYNC (and FH_DSYNC)
                      FUSE_WRITE_KILL_SUIDGID          fh |= FH_KILL_SUIDGID
                      FUSE_WRITE_CACHE                 fh |= FH_WRITE_CACHE
    SETATTR           FATTR_KILL_SUIDGID, FATTR_FH     fh |= FH_KILL_SUIDGID
                      FATTR_KILL_SUIDGID alone         FATTR_FH set, fh = FH_NONE | FH_KILL_SUIDGID
    OPEN, CREATE      FUSE_OPEN_KILL_SUIDGID           flags |= OPEN_KILL_SUIDGID
    reply to OPEN,    FOPEN_DIRECT_IO in open_flags    open_flags |= FOPEN_PARALLEL_DIRECT_WRITES
      CREATE
    reply to INIT     once                             see transport/handshake.py

Hence file handles are below ``FH_NONE``; ``fh & FH_MASK`` is the handle, the rest are flags.
"""

from __future__ import annotations

import os
import struct
from typing import Final, NamedTuple

# -- headers -------------------------------------------------------------------------------------

IN_HEADER_SIZE: Final = 40  # len u32, opcode u32, unique u64, nodeid u64, uid, gid, pid, extlen
IN_OPCODE: Final = 4
IN_UNIQUE: Final = 8
IN_NODEID: Final = 16
OUT_HEADER_SIZE: Final = 16  # len u32, error i32, unique u64
OUT_ERROR: Final = 4
OUT_UNIQUE: Final = 8
OUT_HEADER_STRUCT: Final = struct.Struct("<IiQ")
assert OUT_HEADER_STRUCT.size == OUT_HEADER_SIZE

# Smallest buffer read(2) on /dev/fuse accepts, and what a WRITE needs beside its data.
MIN_READ_BUFFER: Final = 8192
# libfuse 3.14 receives into max_write plus this; more does not fit its buffer.
BUFFER_HEADER_SIZE: Final = 4096

# Notifications (server to kernel) carry unique 0 and their code in the error field.
NOTIFY_UNIQUE: Final = 0
NOTIFY_INVAL_INODE: Final = 2

# -- opcodes -------------------------------------------------------------------------------------

FORGET: Final = 2  # no reply
SETATTR: Final = 4
OPEN: Final = 14
READ: Final = 15
WRITE: Final = 16
INIT: Final = 26
CREATE: Final = 35
INTERRUPT: Final = 36  # its reply is optional
DESTROY: Final = 38  # sent at unmount of block-device mounts only
NOTIFY_REPLY: Final = 41  # no reply
BATCH_FORGET: Final = 42  # no reply

# pyfuse3 has no handler for these; layouts of their bodies: abi/fuse_side.py.
FALLOCATE: Final = 43
LSEEK: Final = 46
COPY_FILE_RANGE: Final = 47
TMPFILE: Final = 51
STATX: Final = 52
COPY_FILE_RANGE_64: Final = 53  # since Linux 6.18; the reply counts in 64 bits

# -- SETATTR: fuse_setattr_in {valid u32, padding u32, fh u64, ...} --------------------------------

SETATTR_VALID: Final = 40
SETATTR_FH: Final = 48
SETATTR_END: Final = 128
FATTR_FH: Final = 1 << 6
FATTR_KILL_SUIDGID: Final = 1 << 11  # truncate or chown by one without CAP_FSETID

# -- READ and WRITE agree: {fh, offset, size u32, *_flags u32, lock_owner, flags u32, padding} -----

IO_OFFSET: Final = 48
IO_SIZE: Final = 56
IO_END: Final = 80
WRITE_OUT_SIZE: Final = 8  # fuse_write_out {size u32, padding u32}

# -- WRITE: fuse_write_in {fh, offset, size u32, write_flags u32, lock_owner, flags u32, pad} -----

WRITE_FH: Final = 40
WRITE_FLAGS: Final = 60
WRITE_OPEN_FLAGS: Final = 72
WRITE_END: Final = 80
FUSE_WRITE_CACHE: Final = 1 << 0  # from the page cache: fh and pid are a guess
FUSE_WRITE_KILL_SUIDGID: Final = 1 << 2
O_DSYNC: Final = os.O_DSYNC
# O_SYNC contains O_DSYNC; this is the bit it has for itself (__O_SYNC).
O_SYNC_ONLY: Final = os.O_SYNC & ~os.O_DSYNC

# -- OPEN: fuse_open_in {flags u32, open_flags u32};  CREATE: {flags, mode, umask, open_flags} ----

OPEN_FLAGS: Final = 40
OPEN_OPEN_FLAGS: Final = 44
OPEN_END: Final = 48
CREATE_FLAGS: Final = 40
CREATE_OPEN_FLAGS: Final = 52
CREATE_END: Final = 56
FUSE_OPEN_KILL_SUIDGID: Final = 1 << 0  # open(O_TRUNC) by one without CAP_FSETID

# Replies: fuse_open_out {fh u64, open_flags u32, backing_id i32}, for CREATE after the entry.
OPEN_REPLY_SIZE: Final = 32
OPEN_REPLY_FLAGS: Final = 24
CREATE_REPLY_SIZE: Final = 160
CREATE_REPLY_FLAGS: Final = 152
FOPEN_DIRECT_IO: Final = 1 << 0
FOPEN_PARALLEL_DIRECT_WRITES: Final = 1 << 6  # acts only together with FOPEN_DIRECT_IO

# -- what the transport adds for the handlers ----------------------------------------------------

FH_MASK: Final = (1 << 48) - 1  # the handle itself
FH_NONE: Final = FH_MASK  # no handle came with the request
FH_DSYNC: Final = 1 << 48  # data durable before the reply
FH_SYNC: Final = 1 << 49  # data and attributes durable before the reply
FH_KILL_SUIDGID: Final = 1 << 50  # clear suid and sgid, drop file capabilities
FH_WRITE_CACHE: Final = 1 << 51  # writeback: times are the kernel's business
# No O_ flag of Linux uses this bit, and libfuse keeps the flags in a signed int.
OPEN_KILL_SUIDGID: Final = 1 << 30

# -- INIT: capability words (flags in the low, flags2 in the high half) ---------------------------

INIT_EXPORT_SUPPORT: Final = 1 << 4
INIT_AUTO_INVAL_DATA: Final = 1 << 12
INIT_WRITEBACK_CACHE: Final = 1 << 16
INIT_MAX_PAGES: Final = 1 << 22
INIT_EXPLICIT_INVAL_DATA: Final = 1 << 25
INIT_HANDLE_KILLPRIV_V2: Final = 1 << 28
INIT_EXT: Final = 1 << 30
INIT_DIRECT_IO_ALLOW_MMAP: Final = 1 << 36

INIT_IN_STRUCT: Final = struct.Struct("<IIIII44x")
INIT_OUT_STRUCT: Final = struct.Struct("<IIIIHHIIHHIIH22x")
INIT_IN_COMPAT_SIZE: Final = 16  # kernels before flags2 (5.17) send no more
assert INIT_IN_STRUCT.size == INIT_OUT_STRUCT.size == 64


class InitIn(NamedTuple):
    """``fuse_init_in``: what the kernel offers."""

    major: int
    minor: int
    max_readahead: int  # bytes
    flags: int  # both words, see INIT_*

    @classmethod
    def unpack(cls, payload: bytes) -> InitIn:
        """Decode the bytes after the request header; old kernels send the first 16 only.

        Raises:
            ValueError: *payload* is shorter than 16 bytes.
        """
        if len(payload) < INIT_IN_COMPAT_SIZE:
            raise ValueError(f"INIT carries {len(payload)} bytes; at least 16 are needed")
        padded = payload[: INIT_IN_STRUCT.size].ljust(INIT_IN_STRUCT.size, b"\0")
        major, minor, max_readahead, low, high = INIT_IN_STRUCT.unpack(padded)
        # Without INIT_EXT the bytes of flags2 mean nothing.
        return cls(major, minor, max_readahead, low | (high << 32 if low & INIT_EXT else 0))


class InitOut(NamedTuple):
    """``fuse_init_out``: what the server accepts."""

    major: int
    minor: int
    max_readahead: int  # bytes
    flags: int  # both words
    max_background: int
    congestion_threshold: int
    max_write: int  # bytes
    time_gran: int  # ns
    max_pages: int
    map_alignment: int
    max_stack_depth: int
    request_timeout: int  # s

    @classmethod
    def unpack(cls, payload: bytes) -> InitOut:
        """Decode the bytes after the reply header.

        Raises:
            ValueError: *payload* is not a reply of protocol 7.23 or later.
        """
        if len(payload) != INIT_OUT_STRUCT.size:
            raise ValueError(f"INIT reply carries {len(payload)} bytes; 64 are needed")
        fields = INIT_OUT_STRUCT.unpack(payload)
        flags = fields[3] | fields[10] << 32
        return cls._make((*fields[:3], flags, *fields[4:10], *fields[11:]))

    def pack(self) -> bytes:
        """Encode; the inverse of `unpack`."""
        low, high = self.flags & 0xFFFFFFFF, self.flags >> 32
        return INIT_OUT_STRUCT.pack(*self[:3], low, *self[4:10], high, *self[10:])
