# SPDX-License-Identifier: MIT
"""`find.map_range` for the Python path: encoded extents in, pieces out.

Compiled where this machine can, interpreted otherwise: slower, same answers.
"""

from __future__ import annotations

import logging
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from iomapd.abi.program import (
    CTX_FIRST_HINT,
    CTX_SIZE,
    HINT_WORDS,
    HINTS_SIZE,
    NR_PARAMS,
    WORD,
)
from iomapd.dataplane.find import map_asking, map_range
from iomapd.errors import BadMappingError
from iomapd.jit.sources import CompileError
from iomapd.jit.unit import load_unit
from iomapd.mapping.walk import FRESH, MARKS, PIECE_SIZE, REASONS
from iomapd.native.region import Region

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from iomapd.mapping.extent import Extent

log = logging.getLogger(__name__)

ROOM: Final = 512  # pieces per call: 1 MiB in 4 KiB units is 256

Piece = tuple[int, int, int, int]
"""``(member id, addr, start, end)``: where file positions ``[start, end)`` lie."""


class Hints(NamedTuple):
    """What a program left beside its answer, unchecked: any 64 bits; see `abi.program`."""

    upsert_pos: int
    upsert_length: int
    upsert_strip: int
    upsert_addr: int
    invalidate_pos: int
    invalidate_length: int


assert Hints._fields == HINT_WORDS

NO_HINTS: Final = Hints(*(0,) * len(HINT_WORDS))
_CLEAR: Final = memoryview(bytes(HINTS_SIZE)).cast("q")


@dataclass(slots=True)
class EngineCounters:
    """Counts since the mount: answers by who computed them, and refused ones."""

    linear: int = 0
    formula: int = 0
    program: int = 0
    refused: int = 0


class EncodedExtent:
    """An extent as compiled code reads it; keep it as long as that may happen.

    Attributes:
        addr: address of the words.
        program: name of its program, for messages.
        answered_by: the `EngineCounters` field that its answers count for.
    """

    __slots__ = ("_words", "addr", "answered_by", "program")

    def __init__(self, words: array[int], program: str, answered_by: str) -> None:
        self._words = words
        self.addr = words.buffer_info()[0]
        self.program = program
        self.answered_by = answered_by

    def set_marks(self, written: int, fresh: int) -> None:
        """Name the bitmaps, by address; zeros when all is written.  No lane sees it yet."""
        # What a lane looks at first comes last.
        self._words[FRESH // WORD] = fresh
        self._words[MARKS // WORD] = written


def encode(
    extent: Extent,
    params: Sequence[int] = (),
    program: int = 0,
    name: str = "raid0",
    walk: int = 0,
) -> EncodedExtent:
    """Lay an extent out as `mapping.walk` describes; one of one strip asks no program.

    Args:
        extent: geometry.
        params: the layout's parameters, up to 8.
        program: address of the compiled program; 0 = the built-in raid0 formula.
        name: what to call the program when its answer is refused.
        walk: address of the walk that the program is compiled into; 0 = by pointer.
    """
    if len(extent.strips) == 1:
        program = walk = 0
    padded = [*params, *(0,) * (NR_PARAMS - len(params))]
    head = [
        extent.offset, extent.length, extent.unit, len(extent.strips), extent.strip_length,
        extent.strip_alloc, extent.seed, program,
    ]  # fmt: skip
    strips = [word for strip in extent.strips for word in (strip.member, strip.addr)]
    asked = "program" if program else "formula"
    answered_by = asked if len(extent.strips) > 1 else "linear"
    return EncodedExtent(array("q", [*head, *padded, 0, 0, walk, *strips]), name, answered_by)


class MapEngine:
    """Maps ranges inside encoded extents; one per thread, it has one scratch record."""

    def __init__(self, *, interpreted: bool = False) -> None:
        self.counters = EngineCounters()
        self._ctx = Region(CTX_SIZE)
        first = CTX_FIRST_HINT // WORD
        self._hints = self._ctx.words()[first : first + len(HINT_WORDS)]
        self._out = array("q", bytes(ROOM * PIECE_SIZE))
        self._out_addr = self._out.buffer_info()[0]
        self._ctx_addr = self._ctx.addr
        self._map, self._map_asking = _INTERPRETED if interpreted else _compiled()

    def pieces(self, extent: EncodedExtent, pos: int, end: int, limit: int = ROOM) -> list[Piece]:
        """Map ``[pos, end)``, or a prefix of it when more than *limit* pieces are needed.

        Raises:
            BadMappingError: the answer breaks the contract; names program and position.
        """
        return self._pieces(self._map, extent, pos, end, min(limit, ROOM))

    def _pieces(
        self, how: Callable[..., int], extent: EncodedExtent, pos: int, end: int, limit: int
    ) -> list[Piece]:
        count = how(extent.addr, pos, end, self._ctx_addr, self._out_addr, limit)
        if count <= 0:
            self.counters.refused += 1
            why = REASONS.get(count, f"answered {count}")
            raise BadMappingError(f"program {extent.program}: {why}, for file position {pos}")
        answered = getattr(self.counters, extent.answered_by)
        setattr(self.counters, extent.answered_by, answered + count)
        flat = self._out[: 4 * count].tolist()
        return list(zip(flat[0::4], flat[1::4], flat[2::4], flat[3::4], strict=True))

    def ask(self, extent: EncodedExtent, pos: int, end: int) -> tuple[Piece, Hints]:
        """Ask for the first piece of ``[pos, end)``; return the hints left beside it, too.

        Raises:
            BadMappingError: as `pieces`.
        """
        # Whatever was asked before may have left its own.
        self._hints[:] = _CLEAR
        (piece,) = self._pieces(self._map_asking, extent, pos, end, 1)
        words = self._hints.tolist()
        return piece, Hints(*words) if any(words) else NO_HINTS


_Maps: TypeAlias = "tuple[Callable[..., int], Callable[..., int]]"
_INTERPRETED: Final[_Maps] = (map_range, map_asking)


def _compiled() -> _Maps:
    try:
        unit = load_unit("mapping", _INTERPRETED)
    except CompileError as exc:
        log.warning("mapping runs interpreted: %s", exc)
        return _INTERPRETED
    return unit.function("map_range"), unit.function("map_asking")
