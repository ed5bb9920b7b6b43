# SPDX-License-Identifier: MIT
"""Blocks that carry their own address: a misplaced byte confesses.

    OFFSET  SIZE  FIELD
         0     8  MAGIC
         8     8  file: a number of the test's choice
        16     8  pos: position of the block in its file, bytes
        24     8  round: which writing of this block
        32     4  CRC32 of the 32 bytes before
        36        the 36 bytes above, repeated up to the block's end

A reader needs no copy of what was written: each block says whose it is, where it
belongs and whether it is whole.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

BLOCK = 4096
MAGIC = b"iomapTAG"
_HEAD = struct.Struct("<8sqqq")


@dataclass(frozen=True, slots=True)
class Tag:
    """What a whole block says of itself."""

    file: int
    pos: int
    round: int


def block(file: int, pos: int, round_: int = 0, size: int = BLOCK) -> bytes:
    """One block of *file* at *pos*, *size* bytes."""
    head = _HEAD.pack(MAGIC, file, pos, round_)
    unit = head + struct.pack("<I", zlib.crc32(head))
    return (unit * (size // len(unit) + 1))[:size]


def content(file: int, length: int, pos: int = 0, round_: int = 0) -> bytes:
    """*length* bytes of *file* from *pos*, both multiples of BLOCK but for the last block."""
    blocks = (block(file, at, round_) for at in range(pos, pos + length, BLOCK))
    return b"".join(blocks)[:length]


def read_tag(data: bytes) -> Tag | None:
    """The tag of one block; None when the block is all zeros.

    Raises:
        AssertionError: the block is neither whole nor zero: torn, or not ours at all.
    """
    if not any(data):
        return None
    magic, file, pos, round_ = _HEAD.unpack_from(data)
    assert magic == MAGIC, f"a block of nobody's: {data[:64].hex()}"
    whole = block(file, pos, round_, len(data))
    assert data == whole, f"a torn block of file {file}, pos {pos}, round {round_}"
    return Tag(file, pos, round_)


def check(data: bytes, file: int, pos: int = 0, *, holes: bool = False) -> list[int]:
    """Check that every block of *data* is *file*'s and in its place.

    Args:
        data: what was read from *pos* on; *pos* is a multiple of BLOCK.
        file: whose blocks these must be.
        pos: position of the first byte.
        holes: whether blocks of zeros are right as well.

    Returns:
        The round of each block, -1 for a block of zeros.
    """
    rounds = []
    for at in range(0, len(data), BLOCK):
        tag = read_tag(data[at : at + BLOCK])
        if tag is None:
            assert holes, f"zeros at {pos + at} of file {file}, where data was written"
            rounds.append(-1)
            continue
        assert (tag.file, tag.pos) == (file, pos + at), f"at {pos + at} of file {file}: {tag}"
        rounds.append(tag.round)
    return rounds
