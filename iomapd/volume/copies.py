# SPDX-License-Identifier: MIT
"""The two copies of a member's superblock: which one serves, and how they are replaced.

    byte 0                      the first copy
    data_offset + data_size     the backup, recorded in the first copy and in the store

Reading: the first copy serves if it is whole, else the backup; the damage is
told in a warning.  A whole copy of a newer format is believed, not worked around.

Writing: the copy that served is replaced last, after the other one is durable.
A crash at any instant thus leaves one whole copy, also when the other was
damaged to begin with.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from iomapd.errors import MemberError, SuperblockError, UnknownFormatError
from iomapd.volume.superblock import (
    BACKUP_COPY,
    FIRST_ADDR,
    FIRST_COPY,
    SUPERBLOCK_SIZE,
    Superblock,
    decode,
    encode,
    has_magic,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Found:
    """A superblock that serves: which copy, and what is wrong with the other one."""

    superblock: Superblock
    served: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Copy:
    """One copy as read: a superblock, or why not."""

    addr: int
    superblock: Superblock | None
    fault: str = ""
    begun: bool = False  # the magic is there: damaged rather than absent


def end_of(size: int) -> int:
    """Address of the last whole block of *size* bytes, where create puts the backup."""
    return size // SUPERBLOCK_SIZE * SUPERBLOCK_SIZE - SUPERBLOCK_SIZE


def read_superblock(fd: int, path: Path, size: int, hints: Iterable[int] = ()) -> Found | None:
    """Find the superblock of a member.

    Args:
        fd: the open member.
        path: its name, for messages.
        size: its size, bytes.
        hints: where else the backup may be, bytes, if the first copy cannot tell.

    Returns:
        The superblock that serves, or None when neither place begins like one.

    Raises:
        UnknownFormatError: a whole copy is of a newer format.
        SuperblockError: there is a superblock, but no whole copy of it.
    """
    first = _read_copy(fd, path, FIRST_ADDR)
    if first.superblock is not None:
        backup = _read_copy(fd, path, first.superblock.member.backup)
        return Found(first.superblock, FIRST_COPY, _backup_warnings(path, first, backup))
    places = dict.fromkeys([*hints, end_of(size)])
    backups = [_read_copy(fd, path, addr) for addr in places if addr > FIRST_ADDR]
    for backup in backups:
        if backup.superblock is not None:
            fault = f"{path}: first superblock copy: {first.fault}; the backup at byte "
            return Found(backup.superblock, BACKUP_COPY, (f"{fault}{backup.addr} serves",))
    begun = [copy for copy in (first, *backups) if copy.begun]
    if not begun:
        return None
    faults = "; ".join(f"at byte {copy.addr}: {copy.fault}" for copy in (first, *backups))
    raise SuperblockError(f"{path}: no whole copy of the superblock: {faults}")


def write_superblock(fd: int, path: Path, superblock: Superblock, served: int) -> None:
    """Replace both copies durably, the one that *served* last.

    Raises:
        MemberError: a copy could not be written or flushed.
    """
    copies = (BACKUP_COPY, FIRST_COPY) if served == FIRST_COPY else (FIRST_COPY, BACKUP_COPY)
    for copy in copies:
        addr = FIRST_ADDR if copy == FIRST_COPY else superblock.member.backup
        _put(fd, path, addr, encode(superblock, copy))


def wipe_superblock(fd: int, path: Path, addresses: Iterable[int]) -> None:
    """Overwrite the copies at *addresses* with zeros, durably, in that order.

    Raises:
        MemberError: a copy could not be written or flushed.
    """
    for addr in addresses:
        _put(fd, path, addr, bytes(SUPERBLOCK_SIZE))


def _read_copy(fd: int, path: Path, addr: int) -> _Copy:
    try:
        block = os.pread(fd, SUPERBLOCK_SIZE, addr)
    except OSError as exc:
        return _Copy(addr, None, f"cannot be read ({exc.strerror})", begun=True)
    try:
        return _Copy(addr, decode(block, addr))
    except UnknownFormatError as exc:
        raise UnknownFormatError(f"{path}: superblock at byte {addr}: {exc}") from None
    except SuperblockError as exc:
        return _Copy(addr, None, str(exc), begun=has_magic(block))


def _backup_warnings(path: Path, first: _Copy, backup: _Copy) -> tuple[str, ...]:
    assert first.superblock is not None
    if backup.superblock is None:
        return (f"{path}: backup superblock at byte {backup.addr}: {backup.fault}",)
    if backup.superblock.member != first.superblock.member:
        return (f"{path}: backup superblock at byte {backup.addr}: is of another member",)
    # A generation behind is what a crash between the two writes leaves: no damage.
    return ()


def _put(fd: int, path: Path, addr: int, block: bytes) -> None:
    # On a page, since the member may be open with O_DIRECT.
    page = mmap.mmap(-1, len(block))
    page.write(block)
    try:
        written = os.pwrite(fd, page, addr)
        os.fdatasync(fd)
    except OSError as exc:
        raise MemberError(f"{path}: superblock at byte {addr}: {exc.strerror}") from exc
    if written != len(block):
        raise MemberError(f"{path}: superblock at byte {addr}: only {written} bytes were written")
