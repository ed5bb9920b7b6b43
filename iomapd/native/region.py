# SPDX-License-Identifier: MIT
"""Memory with an address: what compiled code and Python both write."""

from __future__ import annotations

import ctypes
import mmap


class Region:
    """Zeroed, page-aligned, private memory.

    Attributes:
        addr: address of the first byte.
        size: bytes.
    """

    __slots__ = ("_map", "addr", "size")

    def __init__(self, size: int) -> None:
        self._map: mmap.mmap | None = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANON)
        self.addr = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        """Copy *length* bytes from *offset* out."""
        return ctypes.string_at(self.addr + offset, length)

    def write(self, offset: int, data: bytes) -> None:
        """Copy *data* in at *offset*.

        Raises:
            ValueError: it does not fit.
        """
        if not 0 <= offset <= self.size - len(data):
            raise ValueError(f"{len(data)} bytes at {offset} leave a region of {self.size} bytes")
        ctypes.memmove(self.addr + offset, data, len(data))

    def close(self) -> None:
        """Give the memory back; no thread may use its addresses any more."""
        if self._map is not None:
            self._map.close()
            self._map = None
