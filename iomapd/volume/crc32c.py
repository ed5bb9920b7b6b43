# SPDX-License-Identifier: MIT
"""CRC32C (Castagnoli), the checksum of iSCSI, ext4 and btrfs, by table.

    polynomial 0x1EDC6F41, bits reflected; start and final xor 0xFFFFFFFF
    check value: crc32c(b"123456789") == 0xE3069283   (RFC 3720, B.4 has more)

Only superblocks are summed with it, 4 KiB a few times per mount (0.3 ms each in
plain Python), so a table is enough and no dependency is needed.  It tells any
accident of up to 32 adjacent bits for certain; it is no defence against
somebody who means to change a superblock.
"""

from __future__ import annotations

from typing import Final

_POLYNOMIAL: Final = 0x82F63B78  # 0x1EDC6F41 with its bits reversed


def _table_entry(index: int) -> int:
    value = index
    for _ in range(8):
        value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
    return value


_TABLE: Final = tuple(_table_entry(index) for index in range(256))


def crc32c(data: bytes | bytearray | memoryview, crc: int = 0) -> int:
    """Return the CRC32C of *data*.

    Args:
        data: bytes to sum.
        crc: result for the bytes before *data*, so that pieces can be summed in turn.

    Returns:
        The checksum, ``0 <= crc < 2**32``.
    """
    table = _TABLE
    value = crc ^ 0xFFFFFFFF
    for byte in bytes(data):
        value = table[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF
