# SPDX-License-Identifier: MIT
"""System calls that Python's os module lacks, and what O_DIRECT wants of a buffer."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
AT_FDCWD = -100
FALLOC_KEEP_SIZE = 0x01
FALLOC_PUNCH_HOLE = 0x02
FALLOC_ZERO_RANGE = 0x10
STATX_BTIME = 0x800
STATX_BLOCKS = 0x400
FORCE_SYNC = 0x2000  # AT_STATX_FORCE_SYNC

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, name: object) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), name)
    return result


def renameat2(old: bytes | Path, new: bytes | Path, flags: int) -> None:
    """rename(2) with RENAME_NOREPLACE or RENAME_EXCHANGE.

    Raises:
        OSError: as the kernel says.
    """
    _checked(_libc.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags), old)


def fallocate(fd: int, mode: int, pos: int, length: int) -> None:
    """fallocate(2).

    Raises:
        OSError: as the kernel says.
    """
    offsets = ctypes.c_long(pos), ctypes.c_long(length)
    _checked(_libc.fallocate(fd, mode, *offsets), fd)


def punch(fd: int, pos: int, length: int) -> None:
    """Make ``[pos, pos + length)`` a hole."""
    fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, pos, length)


def birth_time(path: Path) -> int | None:
    """The time of birth that statx(2) tells, in ns; None if it tells none."""
    buffer = ctypes.create_string_buffer(256)
    _checked(_libc.statx(AT_FDCWD, os.fsencode(path), 0, STATX_BTIME, buffer), path)
    # struct statx: stx_mask at 0, stx_btime at 80.
    if not int.from_bytes(buffer.raw[:4], "little") & STATX_BTIME:
        return None
    seconds = int.from_bytes(buffer.raw[80:88], "little", signed=True)
    return seconds * 10**9 + int.from_bytes(buffer.raw[88:92], "little")


def allocated(path: Path) -> int:
    """Bytes of space that a file has, asked of the file system even if the kernel knows some."""
    buffer = ctypes.create_string_buffer(256)
    _checked(_libc.statx(AT_FDCWD, os.fsencode(path), FORCE_SYNC, STATX_BLOCKS, buffer), path)
    return int.from_bytes(buffer.raw[48:56], "little") * 512


def give_name(fd: int, path: Path) -> None:
    """Link an open file to *path*, as open(2) shows it for O_TMPFILE; os.link() cannot."""
    source, follow = os.fsencode(f"/proc/self/fd/{fd}"), 0x400  # AT_SYMLINK_FOLLOW
    _checked(_libc.linkat(AT_FDCWD, source, AT_FDCWD, os.fsencode(path), follow), path)


def listxattr_size(path: Path) -> int:
    """What listxattr(2) says to a zero-sized buffer: bytes needed."""
    return _checked(_libc.listxattr(os.fsencode(path), None, 0), path)


def getxattr_into(path: Path, name: str, room: int) -> int:
    """getxattr(2) with a buffer of *room* bytes; returns the value's length.

    Raises:
        OSError: ERANGE when the value does not fit.
    """
    buffer = ctypes.create_string_buffer(max(room, 1))
    return _checked(_libc.getxattr(os.fsencode(path), name.encode(), buffer, room), path)


def aligned(data: bytes) -> memoryview:
    """A page-aligned copy of *data*, as O_DIRECT wants it."""
    page = mmap.mmap(-1, max(len(data), 1))
    page[: len(data)] = data
    return memoryview(page)[: len(data)]


def direct_write(fd: int, data: bytes, pos: int) -> None:
    """Write all of *data* at *pos* through an O_DIRECT descriptor."""
    done = os.pwritev(fd, [aligned(data)], pos)
    assert done == len(data), f"short direct write at {pos}: {done} of {len(data)}"


def direct_read(fd: int, length: int, pos: int) -> bytes:
    """Read up to *length* bytes at *pos* through an O_DIRECT descriptor."""
    page = mmap.mmap(-1, max(length, 1))
    done = os.preadv(fd, [memoryview(page)[:length]], pos)
    return page[:done]


def telldir_listing(path: Path) -> list[tuple[bytes, int]]:
    """Names and the positions after them, as readdir(3) and telldir(3) give them."""
    return _Directory(path).read_all()


class _Dirent(ctypes.Structure):
    """struct dirent of 64-bit glibc; d_off is the position after the entry."""

    _fields_ = (
        ("d_ino", ctypes.c_uint64),
        ("d_off", ctypes.c_int64),
        ("d_reclen", ctypes.c_uint16),
        ("d_type", ctypes.c_uint8),
        ("d_name", ctypes.c_char * 256),
    )


_libc.fdopendir.restype = ctypes.c_void_p
_libc.readdir.restype = ctypes.POINTER(_Dirent)
_libc.readdir.argtypes = [ctypes.c_void_p]
_libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
_libc.closedir.argtypes = [ctypes.c_void_p]


class _Directory:
    """An open directory stream with seekdir(3)."""

    def __init__(self, path: Path) -> None:
        self.stream = _libc.fdopendir(os.open(path, os.O_RDONLY | os.O_DIRECTORY))

    def read(self) -> tuple[bytes, int] | None:
        """The next (name, position after it), or None at the end."""
        entry = _libc.readdir(self.stream)
        return (entry.contents.d_name, entry.contents.d_off) if entry else None

    def read_all(self) -> list[tuple[bytes, int]]:
        """Everything from here on, then close."""
        entries = []
        while (entry := self.read()) is not None:
            entries.append(entry)
        self.close()
        return entries

    def seek(self, position: int) -> None:
        """Go to a position that an entry carried."""
        _libc.seekdir(self.stream, position)

    def close(self) -> None:
        """Close the stream and its descriptor."""
        _libc.closedir(self.stream)


def names_from(path: Path, position: int) -> list[bytes]:
    """The names that a fresh stream gives after seekdir(3) to *position*."""
    directory = _Directory(path)
    directory.seek(position)
    return [name for name, _ in directory.read_all()]
