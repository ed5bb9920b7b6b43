# SPDX-License-Identifier: MIT
"""Memory with an address: what compiled code and Python both write."""

from __future__ import annotations

import ctypes
import mmap


class Region:
    """Zeroed, page-aligned, private memory, given back with the last reference to this object.

    Whoever hands the address to compiled code keeps the region as long as that may run.

    Attributes:
        addr: address of the first byte.
        size: bytes.
    """

    __slots__ = ("_map", "addr", "size")

    def __init__(self, size: int) -> None:
        self._map = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANON)
        self.addr = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        """Copy *length* bytes from *offset* out.

        Raises:
            ValueError: they are not all inside.
        """
        self._check(offset, length)
        return ctypes.string_at(self.addr + offset, length)

    def write(self, offset: int, data: bytes) -> None:
        """Copy *data* in at *offset*.

        Raises:
            ValueError: it does not fit.
        """
        self._check(offset, len(data))
        ctypes.memmove(self.addr + offset, data, len(data))

    def _check(self, offset: int, length: int) -> None:
        if length < 0 or not 0 <= offset <= self.size - length:
            raise ValueError(f"{length} bytes at {offset} leave a region of {self.size} bytes")
