# SPDX-License-Identifier: MIT
"""Two programs over the same extent: which units lie elsewhere under the second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iomapd.tools.draw import Drawing, cell_size, draw_program, places

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iomapd.jit.admission import Geometry
    from iomapd.tools.draw import Piece


@dataclass(frozen=True, slots=True)
class Move:
    """One cell that lies elsewhere: its number in the file, ``(strip, addr)`` before and after."""

    number: int
    before: tuple[int, int]
    after: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Difference:
    """Two maps compared.

    Attributes:
        cell: bytes of a cell: the unit, unless one of the programs cuts units.
        nr_cells: cells of the extent.
        moves: those that lie elsewhere, in file order.
        drawings: both maps; what does not move is drawn pale.
    """

    cell: int
    nr_cells: int
    moves: tuple[Move, ...]
    drawings: tuple[Drawing, Drawing]

    @property
    def nr_other_strip(self) -> int:
        """How many go to another strip, and so to another member."""
        return sum(move.before[0] != move.after[0] for move in self.moves)

    @property
    def share(self) -> float:
        """Share of the cells that move, 0 to 1."""
        return len(self.moves) / self.nr_cells

    def body(self, first: int) -> dict[str, Any]:
        """Return the figures and the *first* moves as plain data; sizes in bytes."""
        return {
            "cell": self.cell,
            "cells": self.nr_cells,
            "moved": len(self.moves),
            "percent": round(100 * self.share, 2),
            "to_other_strip": self.nr_other_strip,
            "first": [
                {
                    "cell": move.number,
                    "offset": move.number * self.cell,
                    "from": {"strip": move.before[0], "address": move.before[1]},
                    "to": {"strip": move.after[0], "address": move.after[1]},
                }
                for move in self.moves[:first]
            ],
        }


def compare(
    names: tuple[str, str], maps: tuple[Sequence[Piece], Sequence[Piece]], geometry: Geometry
) -> Difference:
    """Compare the maps of two programs over *geometry*; each as from `draw.walk`."""
    cell = cell_size(geometry.unit, *maps)
    before, after = (places(pieces, cell) for pieces in maps)
    moves = tuple(
        Move(number, place, after[number])
        for number, place in before.items()
        if after[number] != place
    )
    resting = frozenset(before) - {move.number for move in moves}
    first, second = (
        draw_program(name, pieces, geometry, cell=cell, resting=resting)
        for name, pieces in zip(names, maps, strict=True)
    )
    return Difference(cell, len(before), moves, (first, second))
