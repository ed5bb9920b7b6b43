# SPDX-License-Identifier: MIT
"""The mapping record: one answer to "where do the bytes at *pos* live?".

    OFFSET  SIZE  FIELD   MEANING
         0     8  offset  file offset of the mapping, bytes
         8     8  length  length of the mapping, bytes; never 0
        16     8  addr    byte address in the member's data area, or NULL_ADDR
        24     2  type    MappingType
        26     2  flags   MappingFlag
        28     4  member  id of the member, or NULL_MEMBER

Little-endian; size, order and names of the kernel series' ``struct
fuse_iomap_io`` with *member* for ``dev``.  Byte quantities are signed, like
``loff_t``: for ``uint64 + int64`` numpy answers float64 and numba int64, so one
unsigned field would make interpreted and compiled code disagree.
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import Final, NamedTuple

MAPPING_STRUCT: Final = struct.Struct("<qqqHHI")
NULL_ADDR: Final = -1
"""No space behind this mapping."""
NULL_MEMBER: Final = 0
"""No member; member ids start at 1, as the kernel's backing ids do."""


class MappingType(IntEnum):
    """What lies behind a mapping; values of the fuse-iomap series (v7)."""

    HOLE = 0
    DELALLOC = 1
    MAPPED = 2
    UNWRITTEN = 3
    INLINE = 4
    NOCACHE = 253
    RETRY_CACHE = 254
    PURE_OVERWRITE = 255


class MappingFlag(IntFlag):
    """Flags a server may set on a mapping (bits 0-7 of the series)."""

    NEW = 1 << 0
    DIRTY = 1 << 1
    SHARED = 1 << 2
    MERGED = 1 << 3
    BOUNDARY = 1 << 4
    ANON_WRITE = 1 << 5
    ATOMIC_BIO = 1 << 6
    WANT_IOMAP_END = 1 << 7


FLAGS_ALL: Final = 0xFF


class Mapping(NamedTuple):
    """See the module's table."""

    offset: int
    length: int
    addr: int
    type: int
    flags: int
    member: int

    @property
    def end(self) -> int:
        """One past the last byte of the file range."""
        return self.offset + self.length


# The data plane indexes arrays of records by shifting.
assert MAPPING_STRUCT.size == 32
