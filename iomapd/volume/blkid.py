# SPDX-License-Identifier: MIT
"""Asking libblkid, the library behind blkid(8), wipefs(8) and mount(8), what a device carries.

    blkid_new_probe, blkid_probe_set_device       a probe over a descriptor of ours
    blkid_do_probe, until it returns 1            one found signature after the other
    blkid_probe_lookup_value                      its name, offset and magic bytes

``blkid_do_safeprobe`` would give up where two signatures are found; every one
of them is somebody's data, so each is taken.  Constants are those of
``<blkid/blkid.h>`` (util-linux 2.20 or later).
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

SUBLKS_TYPE: Final = 1 << 5
SUBLKS_MAGIC: Final = 1 << 9
SUBLKS_BADCSUM: Final = 1 << 10
PARTS_MAGIC: Final = 1 << 3

NR_FOUND_MAX: Final = 64
"""More signatures than any device has: bounds the loop whatever the library does."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A file-system, RAID or partition-table signature: *magic* bytes at *addr*."""

    name: str
    addr: int
    magic: bytes

    @property
    def end(self) -> int:
        """One past the last byte of the magic."""
        return self.addr + len(self.magic)


def probe(fd: int) -> list[Signature] | None:
    """Return every signature libblkid finds, or None when the library is not there.

    Args:
        fd: an open file or block device; only read, its position is not kept.

    Raises:
        OSError: the device could not be read.
    """
    library = _library()
    if library is None:
        return None
    handle = library.blkid_new_probe()
    if not handle:
        return None
    try:
        # Offset 0 and size 0: all of it.
        if library.blkid_probe_set_device(handle, fd, 0, 0) != 0:
            return []  # an empty device has no signatures
        library.blkid_probe_enable_superblocks(handle, 1)
        flags = SUBLKS_TYPE | SUBLKS_MAGIC | SUBLKS_BADCSUM
        library.blkid_probe_set_superblocks_flags(handle, flags)
        library.blkid_probe_enable_partitions(handle, 1)
        library.blkid_probe_set_partitions_flags(handle, PARTS_MAGIC)
        return _collect(library, handle)
    finally:
        library.blkid_free_probe(handle)


def _collect(library: Any, handle: int) -> list[Signature]:
    found: list[Signature] = []
    for _ in range(NR_FOUND_MAX):
        status = library.blkid_do_probe(handle)
        if status < 0:
            raise OSError(ctypes.get_errno(), "libblkid cannot read the device")
        if status != 0:
            break
        for prefix, name in (("SBMAGIC", "TYPE"), ("PTMAGIC", "PTTYPE")):
            magic = _value(library, handle, prefix)
            addr = _value(library, handle, f"{prefix}_OFFSET")
            if magic and addr:
                title = (_value(library, handle, name) or b"unknown").decode(errors="replace")
                found.append(Signature(title, int(addr), magic))
    return found


def _value(library: Any, handle: int, name: str) -> bytes | None:
    data = ctypes.c_char_p()
    size = ctypes.c_size_t()
    status = library.blkid_probe_lookup_value(
        handle, name.encode(), ctypes.byref(data), ctypes.byref(size)
    )
    if status != 0:
        return None
    value = ctypes.string_at(data, size.value)
    # Texts carry their final NUL; magic bytes may end in one of their own.
    return value if name.endswith("MAGIC") else value.rstrip(b"\0")


@cache
def _library() -> Any:
    """The loaded library with its signatures, or None."""
    try:
        library = ctypes.CDLL("libblkid.so.1", use_errno=True)
    except OSError:
        return None
    pointer, number = ctypes.c_void_p, ctypes.c_int
    library.blkid_new_probe.restype = pointer
    for name, arguments in {
        "blkid_new_probe": [],
        "blkid_free_probe": [pointer],
        "blkid_probe_set_device": [pointer, number, ctypes.c_int64, ctypes.c_int64],
        "blkid_probe_enable_superblocks": [pointer, number],
        "blkid_probe_set_superblocks_flags": [pointer, number],
        "blkid_probe_enable_partitions": [pointer, number],
        "blkid_probe_set_partitions_flags": [pointer, number],
        "blkid_do_probe": [pointer],
        "blkid_probe_lookup_value": [pointer, ctypes.c_char_p, pointer, pointer],
    }.items():
        getattr(library, name).argtypes = arguments
    return library
