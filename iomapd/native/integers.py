# SPDX-License-Identifier: MIT
"""Division by numbers that are powers of two nearly always: the Python twins.

A 64-bit division takes 10 to 40 ns on processors of 2020, a mapping needs two, and units and
strip counts are powers of two nearly always.  Compiled, ``jit/natives.py`` looks first and
shifts when it can; a right shift floors, as ``//`` does.
"""

from __future__ import annotations


def divide(value: int, divisor: int) -> int:
    """Return ``value // divisor``, rounded down, for *divisor* > 0; nothing useful else."""
    return value // divisor if divisor > 0 else 0


def modulo(value: int, divisor: int) -> int:
    """Return ``value % divisor``, never negative, for *divisor* > 0; nothing useful else."""
    return value % divisor if divisor > 0 else 0
