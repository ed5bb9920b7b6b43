# SPDX-License-Identifier: MIT
"""Calling compiled code by its address: the Python twin.

Compiled, ``jit/natives.py`` replaces it by one call instruction.  Nothing is checked: a wrong
address ends the process, in both worlds.
"""

from __future__ import annotations

import ctypes

ENTRY = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)
"""A function with one 64-bit argument; ``ENTRY(python_function)`` has an address, too."""


def call1(function: int, argument: int) -> int:
    """Call the compiled function at address *function* and return what it returns.

    Args:
        function: address of an ``int64 f(int64)``.
        argument: passed on; often the address of a record.
    """
    return int(ENTRY(function)(argument))
