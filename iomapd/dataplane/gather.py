# SPDX-License-Identifier: MIT
"""From a range of a file to pieces on members: extents, content marks, strategies.

A piece is ``(member, addr, start, end)`` as `find.map_range` writes it; member 0 is a piece of
zeros: a hole, or blocks that are not written.  Bytes of an unwritten block are never read.

    extents        for reading               for writing
    not covered    park                      park
    hole           zeros                     park: the control plane allocates
    written        pieces                    pieces
    not written    zeros                     pieces

How a stretch becomes pieces is the strategy's: the extent's program (PROGRAM), records of the
shared table (CACHE), or one question to the control plane for each piece (UPCALL).
"""

from __future__ import annotations

from typing import Final

from iomapd.abi.units import BLOCK
from iomapd.cache.entry import PLACES
from iomapd.cache.marks import first_block, last_block, next_clear, next_set
from iomapd.dataplane.content import find_triple
from iomapd.dataplane.find import map_range
from iomapd.dataplane.members import member_of, mode_of
from iomapd.dataplane.plane import (
    BY_CACHE,
    BY_PROGRAM,
    MEMBER_BIT,
    NR_MEMBERS,
    STRATEGY,
)
from iomapd.dataplane.request import (
    ANSWER_ADDR,
    ANSWER_END,
    ANSWER_MEMBER,
    ANSWER_START,
    ANSWER_STATUS,
    ANSWERED,
    CTX,
    EXTENTS,
    FORWARD_OTHER,
    FORWARD_REFUSED,
    GO_ON,
    KIND,
    MISS,
    MISSING,
    MISSING_COUNT,
    MODES,
    NO_ANSWER,
    NR_PIECES,
    NR_PIECES_MAX,
    PARK,
    PARKS,
    PIECES,
    TOUCH,
    UPCALL,
    WALKED,
)
from iomapd.mapping.walk import MARKS, OFFSET, PIECE_SIZE
from iomapd.native.memory import load64, load_acquire, store64

# A record of the table of places: start, end (file positions), member, addr.
PLACE_SIZE: Final = 32


def gather(plane: int, request: int, entry: int, end: int, writing: int) -> int:
    """Add pieces for the file range from WALKED to *end*; the inode is shown.

    Returns:
        GO_ON when there are pieces for all of it; PARK or a FORWARD reason.
    """
    extents = load64(request + EXTENTS)
    pos = load64(request + WALKED)
    while pos < end:
        triple = find_triple(extents, pos)
        if triple == 0:
            return miss(request, MISS, pos, end)
        stop = min(end, load64(triple + 8))
        words = load64(triple + 16)
        if words == 0:
            if writing:
                return miss(request, MISS, pos, end)
            status = add_piece(request, 0, 0, pos, stop)
        elif writing or load64(words + MARKS) == 0:
            status = map_stretch(plane, request, entry, words, pos, stop)
        else:
            status = gather_written(plane, request, entry, words, pos, stop)
        if status != GO_ON:
            return status
        pos = stop
    return GO_ON


def gather_written(plane: int, request: int, entry: int, words: int, pos: int, end: int) -> int:
    """Add pieces for what is written of a range of one extent, and zeros between them."""
    written = load64(words + MARKS)
    offset = load64(words + OFFSET)
    last = last_block(offset, end)
    while pos < end:
        block = first_block(offset, pos)
        clear = next_clear(written, block, last)
        if clear > block:
            stop = min(end, offset + clear * BLOCK)
            status = map_stretch(plane, request, entry, words, pos, stop)
        else:
            stop = min(end, offset + next_set(written, block, last) * BLOCK)
            status = add_piece(request, 0, 0, pos, stop)
        if status != GO_ON:
            return status
        pos = stop
    return GO_ON


def map_stretch(plane: int, request: int, entry: int, words: int, pos: int, end: int) -> int:
    """Add pieces for a range inside one extent, as the mount's strategy finds them."""
    strategy = load64(plane + STRATEGY)
    if strategy == BY_PROGRAM:
        return map_by_program(request, words, pos, end)
    if strategy == BY_CACHE:
        return map_by_places(request, load_acquire(entry + PLACES), pos, end)
    return map_by_answers(request, pos, end)


def map_by_program(request: int, words: int, pos: int, end: int) -> int:
    """Ask the extent's program, or the built-in formula."""
    count = load64(request + NR_PIECES)
    if count == NR_PIECES_MAX:
        return FORWARD_OTHER
    out = load64(request + PIECES) + count * PIECE_SIZE
    found = map_range(words, pos, end, load64(request + CTX), out, NR_PIECES_MAX - count)
    if found <= 0:
        return FORWARD_REFUSED
    if load64(out + found * PIECE_SIZE - 8) != end:
        return FORWARD_OTHER
    store64(request + NR_PIECES, count + found)
    store64(request + WALKED, end)
    return GO_ON


def map_by_places(request: int, places: int, pos: int, end: int) -> int:
    """Look the range up in the inode's table of member-level records."""
    while pos < end:
        place = find_place(places, pos)
        if place == 0:
            return miss(request, MISS, pos, end)
        addr = load64(place + 24) + pos - load64(place)
        stop = min(end, load64(place + 8))
        status = add_piece(request, load64(place + 16), addr, pos, stop)
        if status != GO_ON:
            return status
        pos = stop
    return GO_ON


def find_place(places: int, pos: int) -> int:
    """Return the record that covers *pos* in the table at *places*, or 0."""
    if places == 0:
        return 0
    count = load64(places)
    low = 0
    high = count
    while low < high:
        middle = (low + high) >> 1
        if load64(places + 8 + middle * PLACE_SIZE + 8) <= pos:
            low = middle + 1
        else:
            high = middle
    place = places + 8 + low * PLACE_SIZE
    if low < count and load64(place) <= pos:
        return place
    return 0


def map_by_answers(request: int, pos: int, end: int) -> int:
    """Use the control plane's answer where it covers *pos*; ask it, by parking, where not."""
    while pos < end:
        status = load64(request + ANSWER_STATUS)
        start = load64(request + ANSWER_START)
        answer_end = load64(request + ANSWER_END)
        if status == NO_ANSWER or (status == ANSWERED and not start <= pos < answer_end):
            store64(request + ANSWER_STATUS, NO_ANSWER)
            return miss(request, UPCALL, pos, end)
        if status != ANSWERED:
            return FORWARD_REFUSED
        stop = min(end, answer_end)
        addr = load64(request + ANSWER_ADDR) + pos - start
        status = add_piece(request, load64(request + ANSWER_MEMBER), addr, pos, stop)
        if status != GO_ON:
            return status
        # It got further, so it may ask again.
        store64(request + PARKS, 0)
        pos = stop
    return GO_ON


def add_piece(request: int, member: int, addr: int, start: int, end: int) -> int:
    """Add one piece; GO_ON, or FORWARD_OTHER when there are too many."""
    count = load64(request + NR_PIECES)
    if count == NR_PIECES_MAX:
        return FORWARD_OTHER
    piece = load64(request + PIECES) + count * PIECE_SIZE
    store64(piece, member)
    store64(piece + 8, addr)
    store64(piece + 16, start)
    store64(piece + 24, end)
    store64(request + NR_PIECES, count + 1)
    store64(request + WALKED, end)
    return GO_ON


def miss(request: int, kind: int, pos: int, end: int) -> int:
    """Note what is missing; PARK."""
    store64(request + KIND, kind)
    store64(request + MISSING, pos)
    store64(request + MISSING_COUNT, end - pos)
    return PARK


def survey(plane: int, request: int) -> int:
    """Check that every piece lies on a member; note on which, and how each is reached.

    A mapping has been checked against its extent, an extent against its volume; this is the
    last look before bytes move.

    Returns:
        GO_ON or FORWARD_REFUSED.
    """
    piece = load64(request + PIECES)
    touch = 0
    modes = 0
    for _ in range(load64(request + NR_PIECES)):
        index = load64(piece)
        if index < 0 or index >= load64(plane + NR_MEMBERS):
            return FORWARD_REFUSED
        if index != 0:
            member = member_of(plane, index)
            mode = mode_of(member, piece)
            if mode == 0:
                return FORWARD_REFUSED
            touch |= load64(member + MEMBER_BIT)
            modes |= 1 << mode
        piece += PIECE_SIZE
    store64(request + TOUCH, touch)
    store64(request + MODES, modes)
    return GO_ON
