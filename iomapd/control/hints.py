# SPDX-License-Identifier: MIT
"""Hints of mapping programs: what they want the cache to hold, or to forget.

    answer + hints --> forget a range --> is the wanted mapping the extent's own? --> upsert
                                              |  the question brings hints of its own: again

They are what upsert and invalidate are among the kfuncs of fuse-iomap, as words instead of calls,
and they are input: a mapping goes into the cache only if the extent's map, asked there, puts the
same bytes at the same place.  So a hint decides what is known early, never what is true.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from iomapd.abi.units import BLOCK
from iomapd.cache.extents import Placed
from iomapd.errors import BadMappingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from iomapd.cache.extents import PlaceCache
    from iomapd.control.programs import Programs
    from iomapd.dataplane.engine import EncodedExtent, Hints, MapEngine
    from iomapd.geometry.ranges import Range
    from iomapd.mapping.extent import Extent

log = logging.getLogger(__name__)

FOLLOWED: Final = 64
"""Hints followed after one miss, each found in the answer that checked the one before."""

ANSWERS: Final = 512
"""Answers of programs that the hints of one request may cost.  A hint takes the event loop about a
quarter of the time that the miss takes which it saves."""


@dataclass(slots=True)
class HintCounters:
    """Counts since the mount, of one program.

    *trimmed* hints were about space that the extent no longer has: the program cannot know.
    """

    upserts: int = 0
    invalidations: int = 0
    trimmed: int = 0
    refused: int = 0


@dataclass(slots=True)
class Allowance:
    """What hints may do while one request is mapped.

    Attributes:
        needed: file range that stays known, bytes: without it the request, whose records may be
            older than the hint, would never come to an end.
        answers: how many more may be asked for; the last hint may overdraw it.
    """

    needed: Range
    answers: int = ANSWERS


class Origin(NamedTuple):
    """Whose hints they are: the extent that was asked, and as compiled code reads it."""

    extent: Extent
    words: EncodedExtent

    @property
    def length(self) -> int:
        """Bytes of the extent as its program sees it, before any trim."""
        return self.extent.strip_length * len(self.extent.strips)


class HintFollower:
    """Checks the hints of one mount's programs, and carries them out.

    Args:
        programs: whose they are.
        engine: asks them.
        places: the cache that hints are about.
        dropped: told of an inode after some of its records were dropped.

    Attributes:
        counters: by program row.
    """

    def __init__(
        self,
        programs: Programs,
        engine: MapEngine,
        places: PlaceCache,
        dropped: Callable[[int], None],
    ) -> None:
        self.counters: dict[int, HintCounters] = {}
        self._programs = programs
        self._engine = engine
        self._places = places
        self._dropped = dropped
        self._told: set[int] = set()

    def follow(self, origin: Origin, hints: Hints, allowance: Allowance) -> None:
        """Carry out the hints beside an answer, and beside the answers that check them.

        Args:
            origin: the extent that was asked.
            hints: as the program left them.
            allowance: of the request that missed.
        """
        following: Hints | None = hints
        for _ in range(FOLLOWED):
            if following is None or allowance.answers <= 0:
                return
            if following.invalidate_length:
                self._invalidate(origin, following, allowance.needed)
            if not following.upsert_length:
                return
            following = self._upsert(origin, following, allowance)

    def describe(self) -> dict[str, dict[str, int]]:
        """Return the counters by program name, with the digest's start."""
        return {self._programs.label(row): asdict(counts) for row, counts in self.counters.items()}

    def _upsert(self, origin: Origin, hints: Hints, allowance: Allowance) -> Hints | None:
        """Make a mapping known if it is the map's; return the hints of the answer that said so."""
        try:
            wanted = wanted_mapping(origin, hints)
            if wanted is None:
                self._counters_of(origin).trimmed += 1
                return None
            following = self._confirmed(origin, wanted, allowance)
        except BadMappingError as exc:
            self._refuse(origin, str(exc))
            return None
        self._places.upsert(origin.extent.ino, wanted)
        self._counters_of(origin).upserts += 1
        return following

    def _confirmed(self, origin: Origin, wanted: Placed, allowance: Allowance) -> Hints:
        """Ask the map for *wanted*, all of it; return the hints beside the first answer.

        Raises:
            BadMappingError: the map says otherwise, or nothing, or needs too many answers.
        """
        piece, following = self._engine.ask(origin.words, wanted.offset, wanted.end)
        pieces = [piece]
        if piece[3] < wanted.end:
            # One call of compiled code; what does not fit into it is no larger record anyway.
            pieces += self._engine.pieces(origin.words, piece[3], wanted.end)
        allowance.answers -= len(pieces)
        for member, addr, start, _ in pieces:
            if (member, addr) != (wanted.member, wanted.addr + start - wanted.offset):
                raise BadMappingError(f"its map puts file position {start} elsewhere")
        if pieces[-1][3] != wanted.end:
            raise BadMappingError(f"its map needs more than {len(pieces)} answers for it")
        return following

    def _invalidate(self, origin: Origin, hints: Hints, needed: Range) -> None:
        extent = origin.extent
        try:
            check_range(origin, hints.invalidate_pos, hints.invalidate_length)
        except BadMappingError as exc:
            self._refuse(origin, str(exc))
            return
        start = extent.offset + hints.invalidate_pos
        end = min(start + hints.invalidate_length, extent.end)
        held = False
        for low, high in ((start, min(end, needed[0])), (max(start, needed[1]), end)):
            if low < high and self._places.between(extent.ino, low, high):
                self._places.invalidate(extent.ino, low, high)
                held = True
        if held:
            self._dropped(extent.ino)
        self._counters_of(origin).invalidations += 1

    def _refuse(self, origin: Origin, why: str) -> None:
        self._counters_of(origin).refused += 1
        row = self._row(origin)
        if row not in self._told:
            self._told.add(row)
            name = self._programs.label(row)
            log.warning("program %s: a hint is refused, later ones are only counted: %s", name, why)

    def _row(self, origin: Origin) -> int:
        return self._programs.layouts[origin.extent.layout].program

    def _counters_of(self, origin: Origin) -> HintCounters:
        return self.counters.setdefault(self._row(origin), HintCounters())


def wanted_mapping(origin: Origin, hints: Hints) -> Placed | None:
    """Return the mapping that an upsert names, as far as the extent still has its range.

    Raises:
        BadMappingError: it is none of this extent's, whatever its map says.
    """
    pos, length, strip, addr = hints[:4]
    extent = origin.extent
    check_range(origin, pos, length)
    if not 0 <= strip < len(extent.strips):
        raise BadMappingError(f"strip {strip} is not in 0..{len(extent.strips) - 1}")
    if addr % BLOCK or not 0 <= addr <= extent.strip_length - length:
        raise BadMappingError(
            f"{length} B at address {addr}: not whole blocks in the {extent.strip_length} B "
            "of a strip"
        )
    start = extent.offset + pos
    end = min(start + length, extent.end)
    home = extent.strips[strip]
    return Placed(start, end, home.member, home.addr + addr) if start < end else None


def check_range(origin: Origin, pos: int, length: int) -> None:
    """Check that ``[pos, pos + length)``, from the extent's start, is a range of its blocks.

    Raises:
        BadMappingError: it is not; names both and the rule.
    """
    if pos % BLOCK or length % BLOCK:
        raise BadMappingError(f"{length} B at {pos}: not multiples of {BLOCK}")
    if length <= 0 or not 0 <= pos <= origin.length - length:
        raise BadMappingError(f"{length} B at {pos}: not in the {origin.length} B of the extent")
