# SPDX-License-Identifier: MIT
"""The records of members, as compiled code looks at them."""

from __future__ import annotations

from iomapd.abi.units import BLOCK
from iomapd.cache.marks import mark, next_clear
from iomapd.dataplane.plane import (
    BUFFERED,
    CHUNK,
    DIRECT,
    MAPPED,
    MEMBER_DATA_SIZE,
    MEMBER_MAP,
    MEMBER_MAP_SIZE,
    MEMBER_MET,
    MEMBER_MODE,
    MEMBER_SIZE,
    MEMBERS,
)
from iomapd.native.memory import load64


def member_of(plane: int, index: int) -> int:
    """Return the address of the record of member *index*."""
    return load64(plane + MEMBERS) + index * MEMBER_SIZE


def mode_of(member: int, piece: int) -> int:
    """Return how *piece* is reached on its member; 0 when it does not lie in the data area."""
    addr = load64(piece + 8)
    size = load64(piece + 24) - load64(piece + 16)
    if addr < 0 or addr > load64(member + MEMBER_DATA_SIZE) - size:
        return 0
    mode = load64(member + MEMBER_MODE)
    if mode == MAPPED and addr > load64(member + MEMBER_MAP_SIZE) - size:
        return BUFFERED
    return mode


def mapping_of(member: int, piece: int) -> int:
    """Return the address at which the bytes of *piece* are in the mapping of its member."""
    return load64(member + MEMBER_MAP) + load64(piece + 8)


def meet(member: int, piece: int) -> bool:
    """Tell whether all under *piece* was written before; from now on it was."""
    met = load64(member + MEMBER_MET)
    addr = load64(piece + 8)
    first = addr // CHUNK
    last = (addr + load64(piece + 24) - load64(piece + 16) + CHUNK - 1) // CHUNK
    if next_clear(met, first, last) == last:
        return True
    mark(met, met, first, last)
    return False


def granule(member: int) -> int:
    """Return what positions and lengths of I/O on *member* are multiples of, bytes."""
    return BLOCK if load64(member + MEMBER_MODE) == DIRECT else 1
