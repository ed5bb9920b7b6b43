# SPDX-License-Identifier: MIT
"""A file as memory, shared with everyone who writes the file."""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import Final

_MAP_FAILED: Final = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
]  # fmt: skip
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


class FileView:
    """A shared mapping of a part of a file.

    Python's own `mmap` does not tell the address of memory that it must not write.  Touching a
    page that the file does not have any more is SIGBUS; the kernel, on our behalf, gets EFAULT.

    Args:
        fd: open for reading, and for writing when *writable*; may be closed afterwards.
        offset: of the part, bytes; a multiple of the page size.
        size: bytes, > 0.
        writable: it may be written to.

    Attributes:
        addr: address of the first byte; 0 after `close`.
        size: bytes.

    Raises:
        OSError: the file cannot be mapped.
    """

    __slots__ = ("addr", "size")

    def __init__(self, fd: int, offset: int, size: int, *, writable: bool = False) -> None:
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        found = _libc.mmap(None, size, protection, mmap.MAP_SHARED, fd, offset)
        if found == _MAP_FAILED:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        self.addr: int = found
        self.size = size

    def close(self) -> None:
        """Unmap; nobody looks at it any more.  May be called again."""
        if self.addr:
            _libc.munmap(self.addr, self.size)
            self.addr = 0
