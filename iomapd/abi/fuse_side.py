# SPDX-License-Identifier: MIT
"""Bodies of the FUSE messages that pyfuse3 has no handlers for.

Names and layouts follow ``include/uapi/linux/fuse.h`` of protocol 7.45 (Linux 6.18); a body is
what follows the header of `abi.fuse`.  The kernel checks the length of a reply and nothing else.

    OPCODE                REQUEST                         REPLY
    FALLOCATE             fuse_fallocate_in               -
    LSEEK                 fuse_lseek_in                   fuse_lseek_out
    COPY_FILE_RANGE       fuse_copy_file_range_in         fuse_write_out
    COPY_FILE_RANGE_64    fuse_copy_file_range_in         fuse_copy_file_range_out
    TMPFILE               fuse_create_in, a name          fuse_entry_out, fuse_open_out
    STATX                 fuse_statx_in                   fuse_statx_out
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from iomapd.abi.fuse import CREATE_REPLY_SIZE, IN_HEADER_SIZE, OUT_HEADER_SIZE, OUT_HEADER_STRUCT

IN_HEADER_STRUCT: Final = struct.Struct("<IIQQIII4x")
assert IN_HEADER_STRUCT.size == IN_HEADER_SIZE

# fh, offset, length, mode
FALLOCATE_IN: Final = struct.Struct("<QQQI4x")
# fh, offset, whence
LSEEK_IN: Final = struct.Struct("<QQI4x")
LSEEK_OUT: Final = struct.Struct("<Q")
# fh_in, off_in, nodeid_out, fh_out, off_out, len, flags
COPY_IN: Final = struct.Struct("<7Q")
COPY_OUT: Final = struct.Struct("<I4x")  # fuse_write_out
COPY_OUT_64: Final = struct.Struct("<Q")
# flags, mode, umask, open_flags
TMPFILE_IN: Final = struct.Struct("<4I")
# getattr_flags, fh, sx_flags, sx_mask
STATX_IN: Final = struct.Struct("<I4xQII")

# nodeid, generation, entry_valid, attr_valid, entry_valid_nsec, attr_valid_nsec
_ENTRY_HEAD: Final = struct.Struct("<4Q2I")
# ino, size, blocks, atime, mtime, ctime, their nsec, mode, nlink, uid, gid, rdev, blksize, flags
_ATTR: Final = struct.Struct("<6Q10I")
_OPEN_OUT: Final = struct.Struct("<QI4x")  # fh, open_flags
assert OUT_HEADER_SIZE + _ENTRY_HEAD.size + _ATTR.size + _OPEN_OUT.size == CREATE_REPLY_SIZE

# attr_valid, attr_valid_nsec
_STATX_HEAD: Final = struct.Struct("<QI20x")
# mask, blksize, attributes, nlink, uid, gid, mode, ino, size, blocks, attributes_mask
_STATX_FIRST: Final = struct.Struct("<IIQIIIH2xQQQQ")
_STATX_TIME: Final = struct.Struct("<qI4x")
_STATX_LAST: Final = struct.Struct("<4I112x")  # rdev and dev, major and minor
STATX_OUT_SIZE: Final = 288
_STATX_PARTS: Final = (_STATX_HEAD, _STATX_FIRST, *4 * (_STATX_TIME,), _STATX_LAST)
assert sum(part.size for part in _STATX_PARTS) == STATX_OUT_SIZE

FALLOC_KEEP_SIZE: Final = 0x01
FALLOC_PUNCH_HOLE: Final = 0x02
FALLOC_ZERO_RANGE: Final = 0x10

FOPEN_KEEP_CACHE: Final = 1 << 1

STATX_BASIC_STATS: Final = 0x7FF
STATX_BTIME: Final = 0x800

_SECOND: Final = 10**9
_INVAL_INODE: Final = struct.Struct("<Qqq")  # nodeid, offset, length


class Request(NamedTuple):
    """A request's header, and its *body*."""

    opcode: int
    unique: int
    nodeid: int
    uid: int
    gid: int
    pid: int
    body: bytes

    @classmethod
    def unpack(cls, message: bytes) -> Request:
        """Decode.

        Raises:
            struct.error: *message* is shorter than a header.
        """
        fields = IN_HEADER_STRUCT.unpack_from(message)
        return cls._make((*fields[1:], message[IN_HEADER_SIZE:]))


class Stat(NamedTuple):
    """Attributes as replies carry them: *size* in bytes, *blocks* of 512 bytes, times in ns."""

    ino: int
    mode: int
    nlink: int
    uid: int
    gid: int
    rdev: tuple[int, int]  # major, minor
    size: int
    blocks: int
    block_size: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    btime_ns: int


def reply(unique: int, body: bytes = b"", error: int = 0) -> bytes:
    """Return the answer to request *unique*: *body*, or a positive errno."""
    return OUT_HEADER_STRUCT.pack(OUT_HEADER_SIZE + len(body), -error, unique) + body


def inval_inode(code: int, ino: int, start: int, end: int) -> bytes:
    """Return the notification that drops cached pages of ``[start, end)``, dirty ones written."""
    body = _INVAL_INODE.pack(ino, start, end - start)
    return OUT_HEADER_STRUCT.pack(OUT_HEADER_SIZE + len(body), code, 0) + body


def created(stat: Stat, valid_s: int, fh: int, open_flags: int) -> bytes:
    """Return fuse_entry_out and fuse_open_out; attributes are valid for *valid_s* seconds."""
    times = (stat.atime_ns, stat.mtime_ns, stat.ctime_ns)
    major, minor = stat.rdev
    # new_encode_dev(): the minor's low byte, the major, the rest of the minor.
    rdev = minor & 0xFF | major << 8 | (minor & ~0xFF) << 12
    return (
        _ENTRY_HEAD.pack(stat.ino, 0, valid_s, valid_s, 0, 0)
        + _ATTR.pack(
            stat.ino, stat.size, stat.blocks,
            *(_unsigned(ns // _SECOND) for ns in times), *(ns % _SECOND for ns in times),
            stat.mode, stat.nlink, stat.uid, stat.gid, rdev, stat.block_size, 0,
        )
        + _OPEN_OUT.pack(fh, open_flags)
    )  # fmt: skip


def statx_out(stat: Stat, valid_s: int) -> bytes:
    """Return fuse_statx_out: the basic attributes and the time of birth."""
    return b"".join(
        (
            _STATX_HEAD.pack(valid_s, 0),
            _STATX_FIRST.pack(
                STATX_BASIC_STATS | STATX_BTIME, stat.block_size, 0, stat.nlink, stat.uid,
                stat.gid, stat.mode, stat.ino, stat.size, stat.blocks, 0,
            ),
            *(
                _STATX_TIME.pack(ns // _SECOND, ns % _SECOND)
                for ns in (stat.atime_ns, stat.btime_ns, stat.ctime_ns, stat.mtime_ns)
            ),
            _STATX_LAST.pack(*stat.rdev, 0, 0),
        )
    )  # fmt: skip


def _unsigned(value: int) -> int:
    """Seconds before 1970 travel as two's complement."""
    return value & 0xFFFF_FFFF_FFFF_FFFF
