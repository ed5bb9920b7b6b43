# SPDX-License-Identifier: MIT
"""Where the bytes of a member come to rest: the same place under two names is one place.

    regular file         the file: (st_dev, st_ino)
    loop device          the file under it, from its offset on
    partition            the whole disk, from its start on
    other block device   itself: st_rdev

Two members whose resting places overlap are the same member twice, whichever
paths, links, hard links or loop devices lead there.  Bytes that rest in memory
(tmpfs, ramfs, RAM disks, loop devices over tmpfs) need no disk and are mapped.
"""

from __future__ import annotations

import fcntl
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from iomapd.abi.block import LOOP_GET_STATUS64, LOOP_INFO64, LOOP_MAJOR
from iomapd.abi.mountinfo import read_mounts

SYS_BLOCK: Final = Path("/sys/dev/block")

MEMORY_FILE_SYSTEMS: Final = frozenset({"tmpfs", "ramfs", "devtmpfs"})
_RAM_MAJOR: Final = 1  # /dev/ram0...; Documentation/admin-guide/devices.txt
_SECTOR: Final = 512  # what sysfs counts in, whatever the device's sectors are


@dataclass(frozen=True, slots=True)
class Resting:
    """Bytes ``[start, end)`` of the file or disk that *key* names; *in_memory* needs no disk."""

    key: tuple[str, int, int]
    start: int
    end: int
    in_memory: bool

    def overlaps(self, other: Resting) -> bool:
        """Tell whether the two share a byte."""
        return self.key == other.key and self.start < other.end and other.start < self.end


def resting_place(fd: int, size: int) -> Resting:
    """Find where the bytes of an open member rest.

    Args:
        fd: an open regular file or block device.
        size: its size, bytes.
    """
    found = os.fstat(fd)
    if stat.S_ISREG(found.st_mode):
        return _file(found.st_dev, found.st_ino, 0, size)
    major, minor = os.major(found.st_rdev), os.minor(found.st_rdev)
    if major == LOOP_MAJOR and (below := _under_loop(fd, size)):
        return below
    sysfs = SYS_BLOCK / f"{major}:{minor}"
    if (sysfs / "partition").exists():
        start = int((sysfs / "start").read_text()) * _SECTOR
        major, minor = map(int, (sysfs.resolve().parent / "dev").read_text().split(":"))
    else:
        start = 0
    in_memory = major == _RAM_MAJOR or sysfs.resolve().name.startswith("zram")
    return Resting(("block", major, minor), start, start + size, in_memory)


def _under_loop(fd: int, size: int) -> Resting | None:
    """What lies under a loop device, or None if it is not bound to anything."""
    status = bytearray(LOOP_INFO64.size)
    try:
        fcntl.ioctl(fd, LOOP_GET_STATUS64, status)
    except OSError:
        return None
    device, ino, rdevice, start, *_ = LOOP_INFO64.unpack(status)
    # The kernel's encoding of a device number in 64 bits (huge_encode_dev) and
    # the C library's agree while the major stays below 4096.
    if rdevice:
        key = ("block", os.major(rdevice), os.minor(rdevice))
        return Resting(key, start, start + size, in_memory=False)
    return _file(device, ino, start, start + size)


def _file(device: int, ino: int, start: int, end: int) -> Resting:
    return Resting(("file", device, ino), start, end, _is_memory(device))


def _is_memory(device: int) -> bool:
    """Tell whether the file system with this st_dev keeps its files in memory."""
    number = (os.major(device), os.minor(device))
    return any(
        entry.device == number and entry.fstype in MEMORY_FILE_SYSTEMS for entry in read_mounts()
    )
