# SPDX-License-Identifier: MIT
"""Calling compiled code by its address: the Python twins.

Compiled, ``jit/natives.py`` replaces each by one call instruction.  Nothing is checked: a wrong
address ends the process, in both worlds.
"""

from __future__ import annotations

import ctypes

_libc = ctypes.CDLL(None)

ENTRY = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)
"""A function with one 64-bit argument; ``ENTRY(python_function)`` has an address, too."""


def call1(function: int, argument: int) -> int:
    """Call the compiled function at address *function* and return what it returns.

    Args:
        function: address of an ``int64 f(int64)``.
        argument: passed on; often the address of a record.
    """
    return int(ENTRY(function)(argument))


_ENTRY2 = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)


def call2(function: int, first: int, second: int) -> int:
    """Call the compiled function at address *function* with two arguments.

    Of a C function that returns an int, the upper half of the result means nothing.
    """
    return int(_ENTRY2(function)(first, second))


def library_function(name: str) -> int:
    """Return the address of *name* in the C library."""
    return ctypes.cast(getattr(_libc, name), ctypes.c_void_p).value or 0
