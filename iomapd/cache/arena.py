# SPDX-License-Identifier: MIT
"""Space for bitmaps in the shared table: powers of two, given back to a list of their size.

Only the server hands space out; what a killed server had handed out is found by the chains in
its entries (`heritage`), so nothing of this needs to be shared.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

SMALLEST: Final = 256
STEP: Final = 1 << 20  # bytes backed at a time


class Arena:
    """Hands out ranges of ``[start, end)``, bytes.

    Args:
        start: first byte.
        end: one past the last.
        back: called with offset and length before a range is handed out for the first time;
            OSError when there is no memory for it.

    Attributes:
        used: bytes handed out now.
    """

    def __init__(self, start: int, end: int, back: Callable[[int, int], None]) -> None:
        self._next = start
        self._end = end
        self._backed = start
        self._back = back
        self._free: dict[int, list[int]] = {}
        self.used = 0

    def take(self, size: int) -> int | None:
        """Return the offset of *size* bytes of no particular content, or None when full."""
        size = _rounded(size)
        free = self._free.get(size)
        if free:
            offset = free.pop()
        elif self._next + size <= self._end and self._is_backed(self._next + size):
            offset = self._next
            self._next += size
        else:
            return None
        self.used += size
        return offset

    def _is_backed(self, end: int) -> bool:
        if end <= self._backed:
            return True
        wanted = min(max(end, self._backed + STEP), self._end)
        try:
            self._back(self._backed, wanted - self._backed)
        except OSError as exc:
            log.warning("no memory for bitmaps of files that are being written: %s", exc.strerror)
            return False
        self._backed = wanted
        return True

    def give(self, offset: int, size: int) -> None:
        """Take back what `take` handed out for *size* bytes."""
        size = _rounded(size)
        self._free.setdefault(size, []).append(offset)
        self.used -= size


def _rounded(size: int) -> int:
    return max(SMALLEST, 1 << (size - 1).bit_length())
