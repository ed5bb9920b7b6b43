# SPDX-License-Identifier: MIT
"""Page-aligned buffers that are used again: a fresh MiB costs more page faults than its copy.

pyfuse3 replies from the buffer right after the handler returns, with no
checkpoint in between.  So a buffer may go back to the pool *before* its handler
returns: no other task can take it until the reply has been written.

They begin on a page because members opened with O_DIRECT want it so.
"""

from __future__ import annotations

import mmap
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE: Final = 1 << 20  # the largest READ the kernel sends
KEPT: Final = 64  # as many as requests under way (max_background)


class BufferPool:
    """Buffers of `SIZE` bytes, last used first out: the warm one is taken again.

    Threads may share a pool, as long as each gives back what only it looks at.
    """

    def __init__(self) -> None:
        self._free: list[mmap.mmap] = []

    @contextmanager
    def lent(self, count: int) -> Iterator[memoryview]:
        """Lend *count* bytes (of no particular content) for the duration.

        The view stays valid until the borrower's next checkpoint after the
        block, which is what a reply needs.
        """
        buffer = self._take(count)
        try:
            yield memoryview(buffer)[:count]
        finally:
            if len(buffer) == SIZE and len(self._free) < KEPT:
                self._free.append(buffer)

    def _take(self, count: int) -> mmap.mmap:
        if count <= SIZE:
            try:
                return self._free.pop()
            except IndexError:
                count = SIZE
        return mmap.mmap(-1, count, flags=mmap.MAP_PRIVATE | mmap.MAP_ANON)
