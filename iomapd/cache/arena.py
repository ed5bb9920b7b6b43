# SPDX-License-Identifier: MIT
"""Space for bitmaps in the shared table: powers of two, given back to a list of their size.

Only the server hands space out; what a killed server had handed out is found by the chains in
its entries (`heritage`), so nothing of this needs to be shared.
"""

from __future__ import annotations

from typing import Final

SMALLEST: Final = 256


class Arena:
    """Hands out ranges of ``[start, end)``, bytes.

    Attributes:
        used: bytes handed out now.
    """

    def __init__(self, start: int, end: int) -> None:
        self._next = start
        self._end = end
        self._free: dict[int, list[int]] = {}
        self.used = 0

    def take(self, size: int) -> int | None:
        """Return the offset of *size* bytes of no particular content, or None when full."""
        size = _rounded(size)
        free = self._free.get(size)
        if free:
            offset = free.pop()
        elif self._next + size <= self._end:
            offset = self._next
            self._next += size
        else:
            return None
        self.used += size
        return offset

    def give(self, offset: int, size: int) -> None:
        """Take back what `take` handed out for *size* bytes."""
        size = _rounded(size)
        self._free.setdefault(size, []).append(offset)
        self.used -= size


def _rounded(size: int) -> int:
    return max(SMALLEST, 1 << (size - 1).bit_length())
