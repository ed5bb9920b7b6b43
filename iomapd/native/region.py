# SPDX-License-Identifier: MIT
"""Memory with an address: what compiled code and Python both write."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Region:
    """Zeroed, page-aligned, private memory, given back with the last reference to this object.

    Whoever hands the address to compiled code keeps the region as long as that may run.

    Args:
        size: bytes, > 0.
        huge: let it have huge pages, where the system gives any to those who ask.

    Attributes:
        addr: address of the first byte.
        size: bytes.
    """

    __slots__ = ("_map", "addr", "size")

    def __init__(self, size: int, *, huge: bool = False) -> None:
        memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANON)
        if huge:
            with contextlib.suppress(OSError):  # EINVAL: a kernel without them
                memory.madvise(mmap.MADV_HUGEPAGE)
        self._take(memory)

    def _take(self, memory: mmap.mmap) -> None:
        self._map = memory
        self.addr = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        self.size = len(memory)

    def back(self, offset: int, length: int) -> None:
        """Give pages to *length* bytes from *offset*: nothing to do for private memory."""

    def words(self) -> memoryview[int]:
        """Return the memory as signed 64-bit words; plain loads and stores, no fences."""
        return memoryview(self._map).cast("q")

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


class FileRegion(Region):
    """Memory that is a file: it outlives the process, and another may map it.

    A page that the file system has no room for ends the process when it is touched; so what is
    going to be written is backed first.

    Args:
        path: of the file.
        size: bytes; the file is made, or made as long, sparse.  0: what the file has.
    """

    __slots__ = ("_fd",)

    def __init__(self, path: Path, size: int = 0) -> None:
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        if size:
            flags |= os.O_CREAT | os.O_EXCL
        fd = os.open(path, flags, 0o600)
        try:
            if size:
                os.ftruncate(fd, size)
            self._take(mmap.mmap(fd, size))
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            os.close(self._fd)

    def back(self, offset: int, length: int) -> None:
        """Give pages to *length* bytes from *offset*.

        Raises:
            OSError: ENOSPC, the file system is full.
        """
        os.posix_fallocate(self._fd, offset, length)
