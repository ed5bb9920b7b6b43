# SPDX-License-Identifier: MIT
"""Asynchronous direct writes: the kernel has many of them under way for one thread at once.

A synchronous write keeps the inode's lock until it is answered; these do not.  So a truncate of
the same thread reaches the server while they are on their way.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import TYPE_CHECKING

from tests.mounted import syscalls

if TYPE_CHECKING:
    from collections.abc import Sequence

_SETUP, _DESTROY, _GETEVENTS, _SUBMIT = 206, 207, 208, 209  # x86-64
_PWRITE = 1
_IOCB = struct.Struct("<QIIHhIQQqQII")
_EVENT = struct.Struct("<QQqq")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _call(number: int, *arguments: object) -> int:
    result = _libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return int(result)


class Writes:
    """Writes that are under way until `wait`.

    Args:
        fd: open with O_DIRECT.
        pieces: ``(position, bytes)`` of each.
    """

    def __init__(self, fd: int, pieces: Sequence[tuple[int, bytes]]) -> None:
        self._count = len(pieces)
        self._context = ctypes.c_ulong(0)
        _call(_SETUP, ctypes.c_long(self._count), ctypes.byref(self._context))
        self._views = [syscalls.aligned(data) for _, data in pieces]
        self._blocks = []
        for number, (pos, data) in enumerate(pieces):
            addr = ctypes.addressof(ctypes.c_char.from_buffer(self._views[number]))
            block = _IOCB.pack(number, 0, 0, _PWRITE, 0, fd, addr, len(data), pos, 0, 0, 0)
            self._blocks.append(ctypes.create_string_buffer(block))
        table = (ctypes.c_void_p * self._count)(*map(ctypes.addressof, self._blocks))
        self._submitted = _call(_SUBMIT, self._context, ctypes.c_long(self._count), table)

    def wait(self) -> list[int]:
        """Return what became of each: bytes written, or a negative errno; 0: never begun."""
        events = ctypes.create_string_buffer(_EVENT.size * self._count)
        many = ctypes.c_long(self._submitted)
        done = _call(_GETEVENTS, self._context, many, many, events, None)
        assert done == self._submitted
        results = [0] * self._count
        for number, _, result, _ in _EVENT.iter_unpack(events.raw[: done * _EVENT.size]):
            results[number] = result
        _call(_DESTROY, self._context)
        return results
