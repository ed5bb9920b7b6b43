# SPDX-License-Identifier: MIT
r"""The superblock: what a member says about itself, one 4 KiB block, little-endian.

    OFFSET  SIZE  FIELD        MEANING
         0     8  magic        "\x89IOMAPD\n"
         8     4  crc32c       of all 4096 bytes, this field taken as zero
        12     4  version      1; another number is another table
        16     8  compat       features that an old server may ignore
        24     8  ro_compat    features that an old server may ignore while it only reads
        32     8  incompat     features without which nothing may be read
        40     4  block_size   4096
        44     4  copy         0: the first copy, 1: the backup
        48     8  addr         where this copy lies, bytes from the start of the member
        56    16  volume       UUID of the volume
        72    16  member       UUID of the member
        88     4  id           member id, never reused in this volume; extents name it
        92     4  place        index of the member in the volume, 0 <= place < nr_members
        96     4  nr_members   members of the volume, 1 to NR_MEMBERS_MAX
       100     4  -            reserved
       104     8  data_offset  where the data area begins, bytes; 1 MiB in what we make
       112     8  data_size    size of the data area, bytes
       120     8  backup       where the backup lies: data_offset + data_size
       128     8  generation   of the last mount that wrote; see `iomapd.meta.store`
       136     8  created_ns   when the volume was made, ns since the epoch
       144    32  set_digest   SHA-256 over all members' identities; see `identity`
       176   848  -            reserved
      1024   384  snapshots    8 slots of 48 bytes for snapshots of the metadata store; reserved
      1408  2688  -            reserved

Byte quantities and the generation are signed, like ``loff_t``; the rest is
unsigned.  Reserved bytes are zero and *checked* to be zero, unless an unknown
compat or ro_compat bit explains them.  No paths: a member is known by its UUID,
wherever it lies.  ``copy`` and ``addr`` make a block that was copied to the wrong
place confess.  docs/design/superblock.md says why the format is as it is.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID

from iomapd.abi.units import BLOCK, MAX_FILE_SIZE
from iomapd.errors import SuperblockError, UnknownFormatError
from iomapd.volume.crc32c import crc32c
from iomapd.volume.identity import MemberIdentity

MAGIC: Final = b"\x89IOMAPD\n"
VERSION: Final = 1
SUPERBLOCK_SIZE: Final = BLOCK
FIRST_ADDR: Final = 0
DATA_OFFSET: Final = 1 << 20
NR_MEMBERS_MAX: Final = 64

FIRST_COPY: Final = 0
BACKUP_COPY: Final = 1

# This version has no features yet: any bit is from a newer one.
KNOWN_COMPAT: Final = 0
KNOWN_RO_COMPAT: Final = 0
KNOWN_INCOMPAT: Final = 0

_STRUCT: Final = struct.Struct("<8sIIQQQIIq16s16sIIIIqqqqq32s")
_CRC: Final = struct.Struct("<I")
_CRC_ADDR: Final = 8
_RESERVED_ADDR: Final = 176


class _Fields(NamedTuple):
    """The bytes before the reserved ones, in the table's order."""

    magic: bytes
    crc32c: int
    version: int
    compat: int
    ro_compat: int
    incompat: int
    block_size: int
    copy: int
    addr: int
    volume: bytes
    member: bytes
    id: int
    place: int
    nr_members: int
    reserved: int
    data_offset: int
    data_size: int
    backup: int
    generation: int
    created_ns: int
    set_digest: bytes


assert _STRUCT.size == _RESERVED_ADDR
assert len(_STRUCT.unpack(bytes(_STRUCT.size))) == len(_Fields._fields)


@dataclass(frozen=True, slots=True)
class Superblock:
    """The content of a superblock; both copies of a member carry the same one."""

    volume: UUID
    member: MemberIdentity
    nr_members: int
    generation: int
    created_ns: int
    set_digest: bytes
    compat: int = 0
    ro_compat: int = 0
    incompat: int = 0


def encode(superblock: Superblock, copy: int) -> bytes:
    """Return the 4096 bytes of one copy.

    Args:
        superblock: what to write; must obey every rule that `decode` checks.
        copy: FIRST_COPY or BACKUP_COPY.
    """
    m = superblock.member
    fields = _Fields(
        magic=MAGIC,
        crc32c=0,
        version=VERSION,
        compat=superblock.compat,
        ro_compat=superblock.ro_compat,
        incompat=superblock.incompat,
        block_size=BLOCK,
        copy=copy,
        addr=FIRST_ADDR if copy == FIRST_COPY else m.backup,
        volume=superblock.volume.bytes,
        member=m.uuid.bytes,
        id=m.id,
        place=m.index,
        nr_members=superblock.nr_members,
        reserved=0,
        data_offset=m.data_offset,
        data_size=m.data_size,
        backup=m.backup,
        generation=superblock.generation,
        created_ns=superblock.created_ns,
        set_digest=superblock.set_digest,
    )
    block = bytearray(SUPERBLOCK_SIZE)
    _STRUCT.pack_into(block, 0, *fields)
    _CRC.pack_into(block, _CRC_ADDR, crc32c(block))
    # Whatever is written can be read: a mistake shows here, not at the next mount.
    assert decode(bytes(block), fields.addr) == superblock
    return bytes(block)


def has_magic(block: bytes) -> bool:
    """Tell whether *block* begins like a superblock, whole or damaged."""
    return block.startswith(MAGIC)


def decode(block: bytes, addr: int) -> Superblock:
    """Read one copy, trusting nothing.

    Args:
        block: 4096 bytes.
        addr: where they were read, bytes from the start of the member.

    Raises:
        UnknownFormatError: a whole superblock that this version must not use.
        SuperblockError: anything else that is not a superblock for this place;
            the message says what is wrong, the caller adds where.
    """
    if len(block) != SUPERBLOCK_SIZE:
        raise SuperblockError(f"{len(block)} bytes; a superblock has {SUPERBLOCK_SIZE}")
    if not has_magic(block):
        raise SuperblockError(f"begins with {block[:8].hex()}; the magic is {MAGIC.hex()}")
    fields = _Fields._make(_STRUCT.unpack_from(block))
    computed = crc32c(block[:_CRC_ADDR] + bytes(_CRC.size) + block[_CRC_ADDR + _CRC.size :])
    # The sum first: a flipped bit in the version is damage, not a newer version.
    if fields.crc32c != computed:
        raise SuperblockError(f"CRC32C is {fields.crc32c:#010x}, its bytes sum to {computed:#010x}")
    _check_format(fields)
    _check_reserved(fields, block[_RESERVED_ADDR:])
    _check_place(fields, addr)
    _check_geometry(fields)
    return Superblock(
        volume=UUID(bytes=fields.volume),
        member=_identity(fields),
        nr_members=fields.nr_members,
        generation=fields.generation,
        created_ns=fields.created_ns,
        set_digest=fields.set_digest,
        compat=fields.compat,
        ro_compat=fields.ro_compat,
        incompat=fields.incompat,
    )


def _identity(f: _Fields) -> MemberIdentity:
    return MemberIdentity(f.id, f.place, UUID(bytes=f.member), f.data_offset, f.data_size)


def _check_format(f: _Fields) -> None:
    if f.version != VERSION:
        raise UnknownFormatError(f"format version {f.version}; this iomapd knows version {VERSION}")
    if unknown := f.incompat & ~KNOWN_INCOMPAT:
        raise UnknownFormatError(f"incompatible feature {unknown:#x}; this iomapd does not know it")
    if f.block_size != BLOCK:
        raise UnknownFormatError(f"block size {f.block_size}; this iomapd knows {BLOCK}")


def _check_reserved(f: _Fields, rest: bytes) -> None:
    # A feature that may be ignored may also use bytes that are reserved today.
    if f.compat & ~KNOWN_COMPAT or f.ro_compat & ~KNOWN_RO_COMPAT:
        return
    if f.reserved or rest.count(0) != len(rest):
        raise SuperblockError("reserved bytes are not zero and no feature bit explains them")


def _check_place(f: _Fields, addr: int) -> None:
    if f.addr != addr:
        raise SuperblockError(f"belongs at byte {f.addr}, was found at byte {addr}")
    if addr != {FIRST_COPY: FIRST_ADDR, BACKUP_COPY: f.backup}.get(f.copy):
        raise SuperblockError(f"copy {f.copy} does not belong at byte {addr}")


def _check_geometry(f: _Fields) -> None:
    if not 1 <= f.nr_members <= NR_MEMBERS_MAX:
        raise SuperblockError(f"{f.nr_members} members; 1 to {NR_MEMBERS_MAX} are allowed")
    if f.place >= f.nr_members:
        raise SuperblockError(f"index {f.place} of {f.nr_members} members")
    if f.data_offset < SUPERBLOCK_SIZE or f.data_offset % BLOCK:
        raise SuperblockError(f"data area begins at byte {f.data_offset}")
    # Small enough first, so that no sum below passes the largest file size.
    size_max = MAX_FILE_SIZE - f.data_offset - SUPERBLOCK_SIZE
    if not 0 < f.data_size <= size_max or f.data_size % BLOCK:
        raise SuperblockError(f"data area of {f.data_size} bytes")
    if f.backup != f.data_offset + f.data_size:
        raise SuperblockError(f"backup at byte {f.backup}, not where the data area ends")
    if f.generation < 1 or f.created_ns < 0:
        raise SuperblockError(f"generation {f.generation}, created {f.created_ns}: out of range")
    if not (any(f.volume) and any(f.member)):
        raise SuperblockError("a UUID of zeros names nobody")
