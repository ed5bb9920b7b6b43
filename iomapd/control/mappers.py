# SPDX-License-Identifier: MIT
"""The four ways to answer "where are these bytes?": same data, same answers.

    upcall    every member-level mapping is asked of the slow path, one by one
    cache     member-level mappings are kept; a miss asks the slow path, and follows hints
    record    extents are kept; the built-in raid0 formula maps inside them
    program   extents are kept; the layout's compiled program maps inside them

What differs is how often the store is asked and what is remembered; the loop that
finds, asks and checks is the same (`mapping.walk`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from iomapd.abi.mapping import Mapping, MappingType
from iomapd.abi.units import BLOCK
from iomapd.cache.extents import PlaceCache, Placed
from iomapd.control.hints import Allowance, Origin
from iomapd.dataplane.engine import NO_HINTS
from iomapd.errors import BadMappingError
from iomapd.geometry.ranges import round_down, round_up
from iomapd.mapping.contract import check_answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iomapd.cache.extents import Known
    from iomapd.control.hints import HintFollower
    from iomapd.control.slowpath import SlowPath
    from iomapd.dataplane.engine import EncodedExtent, Hints, MapEngine, Piece

STRATEGIES: Final = ("program", "record", "cache", "upcall")


@dataclass(slots=True)
class MapperCounters:
    """Counts since the mount; *upcalls* are mapping requests that the slow path answered."""

    requests: int = 0
    pieces: int = 0
    upcalls: int = 0


class Mapper(Protocol):
    """One strategy."""

    counters: MapperCounters

    def pieces(self, ino: int, start: int, end: int) -> Iterator[Piece]:
        """Map ``[start, end)``, all of it in extents, in file order.

        Raises:
            BadMappingError: a part has no extent, or an answer breaks the contract.
        """


class StripedMapper:
    """``record`` and ``program``: extents from the cache, mapped in place."""

    def __init__(self, slow: SlowPath, engine: MapEngine) -> None:
        self.counters = MapperCounters()
        self._slow = slow
        self._engine = engine

    def pieces(self, ino: int, start: int, end: int) -> Iterator[Piece]:
        """See `Mapper.pieces`."""
        self.counters.requests += 1
        for low, high, known in self._slow.known(ino, start, end):
            while low < high:
                found = self._engine.pieces(present(ino, low, known), low, high)
                self.counters.pieces += len(found)
                yield from found
                low = found[-1][3]


class UpcallMapper:
    """``upcall``: one request of the slow path per member-level mapping, nothing kept."""

    def __init__(self, slow: SlowPath, engine: MapEngine, data_size_of: dict[int, int]) -> None:
        self.counters = MapperCounters()
        self._slow = slow
        self._engine = engine
        self._data_size_of = data_size_of

    def pieces(self, ino: int, start: int, end: int) -> Iterator[Piece]:
        """See `Mapper.pieces`."""
        self.counters.requests += 1
        pos = start
        while pos < end:
            mapping = self.ask(ino, round_down(pos, BLOCK))
            stop = min(end, mapping.end)
            self.counters.pieces += 1
            yield mapping.member, mapping.addr + pos - mapping.offset, pos, stop
            pos = stop

    def ask(self, ino: int, pos: int) -> Mapping:
        """Answer one mapping request: the store, the program, the check.

        Args:
            ino: the inode.
            pos: file position, bytes, block aligned.
        """
        return self.answer(self.look_up(ino, pos), pos)[0]

    def look_up(self, ino: int, pos: int) -> Origin:
        """Find out in the store who answers a mapping request.

        Raises:
            BadMappingError: there is no extent at *pos*.
        """
        self.counters.upcalls += 1
        extent = self._slow.look_up(ino, pos)
        if extent is None:
            raise BadMappingError(f"inode {ino}: written block at {pos} has no extent")
        return Origin(extent, self._slow.encode(extent))

    def answer(self, origin: Origin, pos: int) -> tuple[Mapping, Hints]:
        """Ask the program and check the mapping; the hints beside it are not checked.

        Raises:
            BadMappingError: the answer breaks the contract.
        """
        extent = origin.extent
        (member, addr, start, end), hints = self._engine.ask(origin.words, pos, extent.end)
        mapping = Mapping(start, end - start, addr, MappingType.MAPPED, 0, member)
        home = next(s for s in extent.strips if s.member == member)
        strip = (member, home.addr, home.addr + extent.strip_alloc)
        check_answer(mapping, pos, strip, self._data_size_of)
        return mapping, hints


class CachedMapper:
    """``cache``: member-level mappings upserted on a miss, and what programs hint at."""

    def __init__(self, upcalls: UpcallMapper, cache: PlaceCache, hints: HintFollower) -> None:
        self.counters = MapperCounters()
        self._upcalls = upcalls
        self._cache = cache
        self._hints = hints

    def pieces(self, ino: int, start: int, end: int) -> Iterator[Piece]:
        """See `Mapper.pieces`."""
        self.counters.requests += 1
        allowance = Allowance((round_down(start, BLOCK), round_up(end, BLOCK)))
        pos = start
        while pos < end:
            placed = self._cache.find(ino, pos)
            if placed is None:
                placed = self._fill(ino, round_down(pos, BLOCK), allowance)
            stop = min(end, placed.end)
            self.counters.pieces += 1
            yield placed.member, placed.addr + pos - placed.offset, pos, stop
            pos = stop

    def _fill(self, ino: int, pos: int, allowance: Allowance) -> Placed:
        self.counters.upcalls += 1
        origin = self._upcalls.look_up(ino, pos)
        mapping, hints = self._upcalls.answer(origin, pos)
        placed = Placed(mapping.offset, mapping.end, mapping.member, mapping.addr)
        self._cache.upsert(ino, placed)
        if hints is not NO_HINTS:
            self._hints.follow(origin, hints, allowance)
        return placed


def present(ino: int, pos: int, known: Known) -> EncodedExtent:
    """Return the encoded extent of *known*; a written block in a hole is a broken store."""
    if known.extent is None:
        raise BadMappingError(f"inode {ino}: written block at {pos} has no extent")
    words: EncodedExtent = known.words
    return words
