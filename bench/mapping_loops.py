# SPDX-License-Identifier: MIT
"""The loops whose cost `bench.mapping_cost` measures in compiled code, as a lane would run them.

Every loop takes an address of its own, then the requests: the address of their file positions
(64-bit words), how many, the length of each in bytes, and the address of a request buffer, where
the pieces go.  It returns the number of mappings, 0 if one was refused.
"""

from __future__ import annotations

from iomapd.abi import HANDLED
from iomapd.dataplane.gather import map_by_places, map_by_program
from iomapd.dataplane.request import GO_ON, NR_PIECES, PIECES
from iomapd.mapping.walk import PIECE_SIZE
from iomapd.native.calls import call1
from iomapd.native.memory import load64, store64

# What the loops by shifts are given.
SHIFT = 0  # log2 of the stripe unit
BITS = 8  # log2 of the number of strips
BEHIND = 16  # address of `shift_behind_pointer`
POS = 24  # what it is asked
STRIP, ADDR, RUN = 32, 40, 48  # what it answers


def map_requests(extent: int, positions: int, count: int, length: int, request: int) -> int:
    """Map by the program or the formula of the extent whose words are at *extent*."""
    mappings = 0
    for index in range(count):
        pos = load64(positions + 8 * index)
        store64(request + NR_PIECES, 0)
        if map_by_program(request, extent, pos, pos + length) != GO_ON:
            return 0
        mappings += load64(request + NR_PIECES)
    return mappings


def look_up_requests(places: int, positions: int, count: int, length: int, request: int) -> int:
    """Map by the table at *places*."""
    mappings = 0
    for index in range(count):
        pos = load64(positions + 8 * index)
        store64(request + NR_PIECES, 0)
        if map_by_places(request, places, pos, pos + length) != GO_ON:
            return 0
        mappings += load64(request + NR_PIECES)
    return mappings


def shift_requests(shape: int, positions: int, count: int, length: int, request: int) -> int:
    """Map by shifts alone; unit and strips are those at *shape*."""
    shift = load64(shape + SHIFT)
    bits = load64(shape + BITS)
    unit = 1 << shift
    mappings = 0
    for index in range(count):
        pos = load64(positions + 8 * index)
        end = pos + length
        piece = load64(request + PIECES)
        while pos < end:
            within = pos & (unit - 1)
            stop = min(end, pos + unit - within)
            store64(piece, (pos >> shift) & ((1 << bits) - 1))
            store64(piece + 8, (pos >> shift >> bits << shift) + within)
            store64(piece + 16, pos)
            store64(piece + 24, stop)
            piece += PIECE_SIZE
            mappings += 1
            pos = stop
    return mappings


def call_requests(shape: int, positions: int, count: int, length: int, request: int) -> int:
    """Map by the function behind the pointer at *shape*; its word is taken."""
    mappings = 0
    function = load64(shape + BEHIND)
    for index in range(count):
        pos = load64(positions + 8 * index)
        end = pos + length
        piece = load64(request + PIECES)
        while pos < end:
            store64(shape + POS, pos)
            if call1(function, shape) != HANDLED:
                return 0
            stop = min(end, pos + load64(shape + RUN))
            store64(piece, load64(shape + STRIP))
            store64(piece + 8, load64(shape + ADDR))
            store64(piece + 16, pos)
            store64(piece + 24, stop)
            piece += PIECE_SIZE
            mappings += 1
            pos = stop
    return mappings


def shift_behind_pointer(shape: int) -> int:
    """Answer the position at *shape*: strip, address in it, and bytes left in the unit."""
    shift = load64(shape + SHIFT)
    bits = load64(shape + BITS)
    pos = load64(shape + POS)
    within = pos & ((1 << shift) - 1)
    store64(shape + STRIP, (pos >> shift) & ((1 << bits) - 1))
    store64(shape + ADDR, (pos >> shift >> bits << shift) + within)
    store64(shape + RUN, (1 << shift) - within)
    return HANDLED
