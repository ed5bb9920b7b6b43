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


_ENTRY6 = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 6)


def call6(function: int, a: int, b: int, c: int, d: int, e: int, f: int) -> int:
    """Call the compiled function at address *function* with six arguments."""
    return int(_ENTRY6(function)(a, b, c, d, e, f))


def linked_answer(extent: int, ctx: int, pos: int, count: int) -> tuple[int, int, int, int]:
    """Ask the program that is linked in; compiled code only, see `mapping.walk.answer`.

    Raises:
        NotImplementedError: always; interpreted code is not linked.
    """
    raise NotImplementedError


def library_function(name: str) -> int:
    """Return the address of *name* in the C library."""
    return ctypes.cast(getattr(_libc, name), ctypes.c_void_p).value or 0
