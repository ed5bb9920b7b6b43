# SPDX-License-Identifier: MIT
"""Floor 1: layouts, flags, statuses and numbers that cross a boundary: kernel, disk, compiled code.

``HANDLED`` and ``FALLBACK`` are what a mapping program answers with.  Zero is
not success: a compiled function that crashed returns zero.
"""

from __future__ import annotations

from typing import Final

FALLBACK: Final = 0
"""The program does not know (or crashed): ask the slow path."""

HANDLED: Final = 1
"""The program filled strip, addr and length."""

PROGRAM_ABI: Final = 1
"""Version of the ctx record and of the arithmetic programs rely on."""

__all__ = ["FALLBACK", "HANDLED", "PROGRAM_ABI"]
