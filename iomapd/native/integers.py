# SPDX-License-Identifier: MIT
"""Integer arithmetic that numba's own operators do not do: the Python twins.

*Sums and products that wrap.*  numba tells LLVM that signed arithmetic does not overflow (nsw,
as in C); LLVM believes it, and then ``abs(x - y)`` may be negative.  Mapping programs are
promised 64 bits that wrap, so they are compiled to these.

*Division by numbers that are powers of two nearly always.*  A 64-bit division takes 10 to 40 ns
on processors of 2020, a mapping needs two, and units and strip counts are powers of two nearly
always.  Compiled, ``jit/natives.py`` looks first and shifts when it can; a right shift floors,
as ``//`` does.
"""

from __future__ import annotations

_BITS = 1 << 64
_SIGN = 1 << 63


def add(left: int, right: int) -> int:
    """Return ``left + right``, cut to a signed 64-bit integer."""
    return (left + right + _SIGN) % _BITS - _SIGN


def subtract(left: int, right: int) -> int:
    """Return ``left - right``, cut to a signed 64-bit integer."""
    return (left - right + _SIGN) % _BITS - _SIGN


def multiply(left: int, right: int) -> int:
    """Return ``left * right``, cut to a signed 64-bit integer."""
    return (left * right + _SIGN) % _BITS - _SIGN


def divide(left: int, right: int) -> int:
    """Return ``left // right``, rounded down, for *right* > 0; nothing useful else."""
    return left // right if right > 0 else 0


def modulo(left: int, right: int) -> int:
    """Return ``left % right``, never negative, for *right* > 0; nothing useful else."""
    return left % right if right > 0 else 0
