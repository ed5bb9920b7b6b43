# SPDX-License-Identifier: MIT
"""What the metadata store holds, as frozen records; `schema` says what each table means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID


@dataclass(frozen=True, slots=True)
class VolumeRecord:
    """Identity of the volume; *block_size* in bytes."""

    uuid: UUID
    name: str
    created_ns: int
    block_size: int = 4096


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """A member: *id* is never reused, *index* its place; *path* is a hint only.

    *data_offset* and *data_size* are bytes, *logical_sector* bytes.
    """

    id: int
    index: int
    uuid: UUID
    path: str
    data_offset: int
    data_size: int
    logical_sector: int = 512


@dataclass(frozen=True, slots=True)
class ProgramRecord:
    """A mapping program: part of the on-disk format, hence its *source* text."""

    id: int
    name: str
    abi: int
    sha256: str
    source: str


@dataclass(frozen=True, slots=True)
class LayoutRecord:
    """How new extents are made.

    *unit*, *strip_min* and *strip_max* are bytes; *width* counts strips, 0
    means all members; *program* is a program id; *params* are 8 integers.
    """

    id: int
    unit: int
    width: int
    strip_min: int
    strip_max: int
    program: int
    params: tuple[int, ...] = (0,) * 8
    copies: int = 1
    flags: int = 0


@dataclass(frozen=True, slots=True)
class InodeRecord:
    """Attributes of an inode; times in ns since the epoch, *size* in bytes."""

    ino: int
    mode: int
    uid: int
    gid: int
    nlink: int
    rdev: int
    size: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    btime_ns: int
    layout: int


@dataclass(frozen=True, slots=True)
class DirentRecord:
    """A name in a directory; *cookie* is its readdir position, never reused."""

    cookie: int
    parent: int
    name: bytes
    ino: int


@dataclass(frozen=True, slots=True)
class ContentRecord:
    """Blocks of a file that are written: bytes ``[offset, offset + length)``."""

    ino: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class XattrRecord:
    """An extended attribute."""

    ino: int
    name: bytes
    value: bytes
