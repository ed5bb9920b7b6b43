# SPDX-License-Identifier: MIT
"""From mapped pieces to member I/O: gather by member.

What `find` answers is one piece per unit; consecutive rows of a member are
contiguous there, so its pieces become one vectored I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


class Run(NamedTuple):
    """One vectored I/O: *addr* in the member's data area, buffer parts in order.

    *parts* are ``(start, end)`` byte ranges of the request's buffer.
    """

    member: int
    addr: int
    parts: list[tuple[int, int]]


def gather(pieces: Iterable[tuple[int, int, int, int]], base: int) -> list[Run]:
    """Join pieces that are contiguous on their member into vectored I/O.

    Args:
        pieces: as from `engine.MapEngine.pieces`, in file order.
        base: file position of the request buffer's first byte.
    """
    runs: list[Run] = []
    latest: dict[int, tuple[Run, int]] = {}  # member -> its last run, where that run ends
    for member, addr, start, end in pieces:
        known = latest.get(member)
        if known is not None and known[1] == addr:
            run = known[0]
            run.parts.append((start - base, end - base))
        else:
            run = Run(member, addr, [(start - base, end - base)])
            runs.append(run)
        latest[member] = (run, addr + end - start)
    return runs
