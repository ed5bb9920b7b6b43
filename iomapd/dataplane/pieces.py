# SPDX-License-Identifier: MIT
"""From a file range inside one extent to member I/O: map, then gather by member.

`map_extent` is the ``record`` strategy: the built-in raid0 formula over a
striped extent, and the identity over an extent of one strip.  `gather` turns its
mappings into one vectored I/O per member and contiguous address range, since
consecutive rows of a member are contiguous there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from iomapd.abi.mapping import Mapping, MappingType
from iomapd.abi.units import BLOCK
from iomapd.geometry.stripes import locate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from iomapd.mapping.extent import Extent


class Run(NamedTuple):
    """One vectored I/O: *addr* in the member's data area, buffer parts in order.

    *parts* are ``(start, end)`` byte ranges of the request's buffer.
    """

    member: int
    addr: int
    parts: list[tuple[int, int]]


def map_pos(extent: Extent, pos: int, kind: MappingType = MappingType.MAPPED) -> Mapping:
    """Return the one mapping that covers *pos* (bytes, a multiple of `BLOCK`).

    The answer reaches to the end of the unit, or of the extent.
    """
    assert pos % BLOCK == 0
    inside = pos - extent.offset
    if len(extent.strips) == 1:
        strip, addr, run = 0, inside, extent.length - inside
    else:
        strip, addr, run = locate(inside, extent.unit, len(extent.strips))
    run = min(run, extent.length - inside)
    home = extent.strips[strip]
    return Mapping(pos, run, home.addr + addr, kind, 0, home.member)


def map_extent(extent: Extent, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield ``(member, addr, start, end)`` pieces of ``[start, end)``, in file order.

    Args:
        extent: covers the range.
        start: file position, bytes; any alignment.
        end: one past the last byte.
    """
    offset, unit, strips = extent.offset, extent.unit, extent.strips
    if len(strips) == 1:
        yield strips[0].member, strips[0].addr + start - offset, start, end
        return
    pos = start
    while pos < end:
        strip, addr, run = locate(pos - offset, unit, len(strips))
        # A strip's answer is range-checked against what is owned: a wrong
        # formula must not reach a neighbour's space.
        assert addr + min(run, end - pos) <= extent.strip_alloc
        piece_end = min(pos + run, end)
        yield strips[strip].member, strips[strip].addr + addr, pos, piece_end
        pos = piece_end


def gather(pieces: Iterable[tuple[int, int, int, int]], base: int) -> list[Run]:
    """Join pieces that are contiguous on their member into vectored I/O.

    Args:
        pieces: as from `map_extent`, in file order.
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
