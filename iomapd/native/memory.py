# SPDX-License-Identifier: MIT
"""Loads, stores and fences at raw addresses: the Python twins.

Interpreted, these functions work through ctypes; compiled, ``jit/natives.py`` replaces each by
one or two machine instructions.  Both do the same to the same bytes, so the interpreter stays
the oracle of everything built on them.

The functions named ``fetch_*`` and `exchange` are atomic and sequentially consistent among
compiled threads.  Their twins exclude one another by a lock, not compiled code: an address is
worked on by one world at a time, or by compiled helpers from both (`jit`).

Addresses and values are plain ints.  Narrow loads are zero-extended; 64-bit loads are signed,
like every quantity in compiled code.  Stores keep the low bits.  Nothing is checked: a wrong
address ends the process, in both worlds.
"""

from __future__ import annotations

import ctypes
import threading

# Acquiring a lock is an atomic read-modify-write, a full barrier on every architecture that
# CPython runs on; that is all the interpreted fence needs.
_BARRIER = threading.Lock()


def load8(addr: int) -> int:
    """Return the byte at *addr*, 0..255."""
    return ctypes.c_uint8.from_address(addr).value


def load16(addr: int) -> int:
    """Return the 16-bit word at *addr*, zero-extended."""
    return ctypes.c_uint16.from_address(addr).value


def load32(addr: int) -> int:
    """Return the 32-bit word at *addr*, zero-extended."""
    return ctypes.c_uint32.from_address(addr).value


def load64(addr: int) -> int:
    """Return the 64-bit word at *addr*, signed."""
    return ctypes.c_int64.from_address(addr).value


def load_constant(addr: int) -> int:
    """Load a 64-bit word, aligned, that nobody changes as long as *addr* is known to be good.

    Who keeps such an address looks it up anew, by `load64` or from an argument, after whatever may
    end that: a lane does for each request.  Compiled, the word need not be loaded again behind a
    store that might have changed it, for all that LLVM can see; what is computed from it alone
    leaves loops.
    """
    return load64(addr)


def store8(addr: int, value: int) -> None:
    """Store the low byte of *value* at *addr*."""
    ctypes.c_uint8.from_address(addr).value = value


def store16(addr: int, value: int) -> None:
    """Store the low 16 bits of *value* at *addr*."""
    ctypes.c_uint16.from_address(addr).value = value


def store32(addr: int, value: int) -> None:
    """Store the low 32 bits of *value* at *addr*."""
    ctypes.c_uint32.from_address(addr).value = value


def store64(addr: int, value: int) -> None:
    """Store the low 64 bits of *value* at *addr*."""
    ctypes.c_int64.from_address(addr).value = value


def load_acquire(addr: int) -> int:
    """Return the signed 64-bit word at *addr*; later accesses stay behind it.

    *addr* is a multiple of 8.
    """
    return ctypes.c_int64.from_address(addr).value


def store_release(addr: int, value: int) -> None:
    """Store *value* in the 64-bit word at *addr*; earlier accesses stay before it.

    *addr* is a multiple of 8.
    """
    ctypes.c_int64.from_address(addr).value = value


def exchange(addr: int, value: int) -> int:
    """Store *value* at *addr* and return what was there, in one step for all threads."""
    with _BARRIER:
        before = load64(addr)
        store64(addr, value)
        return before


def fetch_add(addr: int, value: int) -> int:
    """Add *value* to the 64-bit word at *addr* in one step; return what was there."""
    with _BARRIER:
        before = load64(addr)
        store64(addr, before + value)
        return before


def fetch_or(addr: int, mask: int) -> int:
    """Set the bits of *mask* in the 64-bit word at *addr* in one step; return what was there."""
    with _BARRIER:
        before = load64(addr)
        store64(addr, before | mask)
        return before


def fetch_and(addr: int, mask: int) -> int:
    """Keep only the bits of *mask* in the word at *addr* in one step; return what was there."""
    with _BARRIER:
        before = load64(addr)
        store64(addr, before & mask)
        return before


def fetch_max(addr: int, value: int) -> int:
    """Raise the signed word at *addr* to at least *value* in one step; return what was there."""
    with _BARRIER:
        before = load64(addr)
        store64(addr, max(before, value))
        return before


def copy(to: int, source: int, size: int) -> None:
    """Copy *size* bytes from address *source* to address *to*; they do not overlap."""
    ctypes.memmove(to, source, size)


def clear(addr: int, size: int) -> None:
    """Set *size* bytes at *addr* to zero."""
    ctypes.memset(addr, 0, size)


def fence() -> None:
    """Order every earlier load and store before every later one, for all threads."""
    with _BARRIER:
        pass
