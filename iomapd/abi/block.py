# SPDX-License-Identifier: MIT
"""What the kernel says about block devices: ioctl numbers and the loop device's status.

The numbers are built from the struct they carry, as ``_IOR`` in
``<asm-generic/ioctl.h>`` does; the loop driver's are older than that scheme.
"""

from __future__ import annotations

import struct
from typing import Final

_IOC_READ: Final = 2


def _ior(kind: int, number: int, size: int) -> int:
    """Number of an ioctl that reads *size* bytes from the kernel."""
    return _IOC_READ << 30 | size << 16 | kind << 8 | number


BLKSSZGET: Final = 0x12 << 8 | 104
"""Logical sector size of a block device: an int, bytes."""

BLKGETSIZE64: Final = _ior(0x12, 114, struct.calcsize("N"))
"""Size of a block device: a u64, bytes."""

LOOP_GET_STATUS64: Final = 0x4C05
"""What lies under a loop device: fills a ``struct loop_info64``."""

LOOP_INFO64: Final = struct.Struct("<QQQQQIIII64s64s32s16s")
"""``struct loop_info64``: device, inode, rdevice, offset, sizelimit (bytes), numbers, names."""

LOOP_MAJOR: Final = 7
"""Major number of loop devices (Documentation/admin-guide/devices.txt)."""

assert BLKGETSIZE64 == 0x80081272
assert LOOP_INFO64.size == 232
