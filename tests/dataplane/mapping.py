# SPDX-License-Identifier: MIT
"""The product's own mapping of an extent, in the shapes that tests compare."""

from iomapd.abi.mapping import Mapping, MappingType
from iomapd.dataplane.engine import MapEngine, encode

ENGINE = MapEngine(interpreted=True)


def map_extent(extent, start, end):
    """Yield ``(member, addr, start, end)`` pieces of ``[start, end)``, in file order."""
    while start < end:
        found = ENGINE.pieces(encode(extent), start, end)
        yield from found
        start = found[-1][3]


def map_pos(extent, pos):
    """The one mapping that covers *pos*."""
    ((member, addr, start, end),) = ENGINE.pieces(encode(extent), pos, extent.end, limit=1)
    return Mapping(start, end - start, addr, MappingType.MAPPED, 0, member)
