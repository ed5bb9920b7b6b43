# SPDX-License-Identifier: MIT
"""Whose data is on a device: signatures of file systems, RAIDs and partition tables.

libblkid is asked first, since its answer is what mount(8) and every installer go
by.  The table below serves where it is not installed, and adds what an old one
does not know; it is short on purpose and leaves ZFS, whose labels move, to the
library.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from iomapd.errors import MemberError
from iomapd.volume.blkid import Signature, probe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_FIXED: Final = (
    ("xfs", 0, b"XFSB"),
    ("crypto_LUKS", 0, b"LUKS\xba\xbe"),
    ("squashfs", 0, b"hsqs"),
    ("ntfs", 3, b"NTFS    "),
    ("exfat", 3, b"EXFAT   "),
    ("vfat", 54, b"FAT1"),
    ("vfat", 82, b"FAT32   "),
    ("gpt", 512, b"EFI PART"),
    ("LVM2_member", 536, b"LVM2 001"),
    ("f2fs", 1024, b"\x10\x20\xf5\xf2"),
    ("erofs", 1024, b"\xe2\xe1\xf5\xe0"),
    ("swap", 4086, b"SWAPSPACE2"),
    ("bcache", 4120, bytes.fromhex("c68573f64e1a45ca8265f57f48ba6d81")),
    ("bcachefs", 4120, bytes.fromhex("c68573f666ce90a9d96a60cf803df7ef")),
    ("iso9660", 32769, b"CD001"),
    ("btrfs", 65600, b"_BHRfS_M"),
)
# Two bytes are found in random data too often to be believed beside libblkid's no.
_WEAK: Final = (("ext", 1080, b"\x53\xef"), ("dos", 510, b"\x55\xaa"))
_MD: Final = b"\xfc\x4e\x2b\xa9"


def find_signatures(fd: int, size: int) -> list[Signature]:
    """Return what is recognised on an open file or block device, by address.

    Args:
        fd: only read.
        size: bytes.

    Raises:
        OSError: the device could not be read.
    """
    known = probe(fd)
    found = list(known or [])
    found.extend(
        signature
        for signature in _by_table(fd, size, weak=known is None)
        if not any(signature.addr < s.end and s.addr < signature.end for s in found)
    )
    return sorted(found, key=lambda s: s.addr)


def wipe_signatures(fd: int, path: Path, signatures: Iterable[Signature]) -> None:
    """Overwrite the magic bytes of *signatures* with zeros, durably; nothing else.

    A signature that survived behind our superblock would make other tools see
    the old owner.

    Raises:
        MemberError: a write or the flush failed.
    """
    try:
        for signature in signatures:
            os.pwrite(fd, bytes(len(signature.magic)), signature.addr)
        os.fdatasync(fd)
    except OSError as exc:
        raise MemberError(f"{path}: wiping old signatures: {exc.strerror}") from exc


def _by_table(fd: int, size: int, weak: bool) -> Iterator[Signature]:
    for name, addr, magic in (*_FIXED, *_at_the_end(size), *(_WEAK if weak else ())):
        if addr >= 0 and os.pread(fd, len(magic), addr) == magic:
            yield Signature(name, addr, magic)


def _at_the_end(size: int) -> Iterator[tuple[str, int, bytes]]:
    """Places that depend on the size: md's four versions, and the backup of a GPT."""
    yield "linux_raid_member", 0, _MD  # 1.1
    yield "linux_raid_member", 4096, _MD  # 1.2
    yield "linux_raid_member", (size // 512 - 16) // 8 * 4096, _MD  # 1.0: in whole 4 KiB
    yield "linux_raid_member", size // 65536 * 65536 - 65536, _MD  # 0.90
    yield "gpt", size // 512 * 512 - 512, b"EFI PART"
