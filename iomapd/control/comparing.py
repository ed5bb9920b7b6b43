# SPDX-License-Identifier: MIT
"""Whether a program may stand in for another: same places, geometry by geometry."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Final

from iomapd.abi.program import CTX_ADDR, CTX_SIZE, CTX_STRIP
from iomapd.abi.units import BLOCK
from iomapd.jit.admission.prove import ROWS, SEEDS, ladder
from iomapd.jit.admission.proving import Geometry, Prover
from iomapd.jit.unit import load_unit
from iomapd.mapping.compare import first_difference
from iomapd.native.memory import load64
from iomapd.native.region import Region

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from iomapd.jit.admission.load import LoadedProgram

# Steps that the geometries of extents to come may take: about two seconds.
_STEPS: Final = 1 << 29


@dataclass(frozen=True, slots=True)
class Candidate:
    """A program as one layout uses it: its name, code, and the layout's parameters."""

    name: str
    loaded: LoadedProgram
    params: tuple[int, ...]


class Comparer:
    """Compares maps of extents; any thread, one at a time.

    Args:
        interpreted: walk in the interpreter, a thousand times slower; for tests.

    Attributes:
        blocks: how many have been compared.
    """

    def __init__(self, *, interpreted: bool = False) -> None:
        self._prover = Prover(interpreted=interpreted)
        self._walk: Callable[..., int] = first_difference
        if not interpreted:
            self._walk = load_unit("compare", (first_difference,)).function("first_difference")
        self.blocks = 0

    def differ(
        self, old: Candidate, new: Candidate, unit: int, nr_strips: int, length: int, seed: int
    ) -> str:
        """Say why *new* cannot stand in for *old* on one geometry; empty when it can.

        Args:
            old: maps extents of this geometry now.
            new: is to.
            unit: stripe unit, bytes.
            nr_strips: > 1.
            length: of a strip, bytes.
            seed: of the extent.

        Raises:
            ValueError: that is no geometry of an extent.
        """
        mine = Geometry(unit, nr_strips, length, seed, old.params)
        theirs = Geometry(unit, nr_strips, length, seed, new.params)
        first = self._prover.prove(old.loaded.address, mine)
        second = self._prover.prove(new.loaded.address, theirs)
        self.blocks += first.blocks
        if not first.ok:
            if first.declined and not second.declined:
                return f"{new.name} serves what {old.name} declines ({theirs})"
            return ""  # no extent can have been made with such a map, and none will be
        if not second.ok:
            return f"under {new.name} {second.sentence}"
        return self._difference(old, new, mine, theirs)

    def _difference(self, old: Candidate, new: Candidate, mine: Geometry, theirs: Geometry) -> str:
        ctx, twin = Region(CTX_SIZE), Region(CTX_SIZE)
        mine.fill(ctx.addr)
        theirs.fill(twin.addr)
        at = self._walk(old.loaded.address, new.loaded.address, ctx.addr, twin.addr)
        if at == mine.length:
            return ""
        return (
            f"the block at pos {at} goes to {_place(ctx.addr)} under {old.name} and to "
            f"{_place(twin.addr)} under {new.name} ({mine})"
        )


def _place(ctx: int) -> str:
    return f"address {load64(ctx + CTX_ADDR)} of strip {load64(ctx + CTX_STRIP)}"


def to_come(
    old: Candidate, new: Candidate, unit: int, nr_strips: int, longest: int
) -> Iterator[tuple[int, int, int, int]]:
    """Yield ``(unit, strips, strip length, seed)`` of extents that a layout may get.

    First what it would really make, then the ladder of admission; as many as there is time for.

    Args:
        old: maps them now.
        new: is to.
        unit: of the layout, bytes.
        nr_strips: most strips of an extent.
        longest: longest strips, bytes.
    """
    uses_seed = old.loaded.admission.uses_seed or new.loaded.admission.uses_seed
    seeds = SEEDS if uses_seed else SEEDS[:1]
    steps = max(old.loaded.admission.step_bound, new.loaded.admission.step_bound, 1)
    own = (
        (unit, strips, unit * rows, seed)
        for rows, strips, seed in product(ROWS, range(2, nr_strips + 1), seeds)
        if unit * rows <= longest
    )
    common = (
        (g.unit, g.nr_strips, g.strip_length, g.seed) for g in ladder(seeds, ()) if g.nr_strips > 1
    )
    for source in (own, common):
        left = _STEPS // steps
        for geometry in source:
            left -= geometry[1] * geometry[2] // BLOCK
            if left < 0:
                break
            yield geometry
