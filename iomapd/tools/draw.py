# SPDX-License-Identifier: MIT
"""The layout of a file as a grid of cells: what a program makes of it, or what a mount holds.

    program --walk--> pieces --arrange--> Drawing --> terminal (cli/), SVG, PNG (scene.py)
    file    --map---> pieces ------^

A *piece* is a contiguous run: file range, column, address.  Columns are strips of a
program's extent or members of a volume, rows are addresses.  A *cell* of a program's
drawing is a unit, or the largest part of one that no piece cuts, counted from 0; a cell
of a file is a piece cut at the file's units.  Two cells in one place are kept and shown:
a drawing is also how one looks for the error in a program.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from iomapd.abi import HANDLED
from iomapd.abi.program import CTX_WORDS, NR_WORDS
from iomapd.abi.units import BLOCK
from iomapd.errors import ProgramError, UsageError
from iomapd.geometry.sizes import format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from iomapd.jit.admission import Geometry

CELLS_MAX: Final = 1 << 14
"""Most cells of a drawing; more cannot be looked at."""


PART: Final = "~"
"""Marks the number of a unit of which only a part lies here."""


class Piece(NamedTuple):
    """A contiguous run: *length* bytes of the file from *offset* lie in *column* at *addr*."""

    offset: int
    length: int
    column: int
    addr: int
    is_written: bool = True


@dataclass(frozen=True, slots=True)
class Cell:
    """What lies in one place.

    Attributes:
        numbers: cells of the file that lie here; more than one is a clash.
        column: place of the (first) cell in its row of the file: its hue.
        tone: how far into the file it is, 0 to 1.
        words: the place in a sentence.
        is_resting: drawn pale: it does not move, or nothing is written to it.
        is_cut: the cell above is not its neighbour in the member.
        is_part: it is only a part of its unit.
    """

    numbers: tuple[int, ...]
    column: int
    tone: float
    words: str
    is_resting: bool = False
    is_cut: bool = False
    is_part: bool = False

    @property
    def label(self) -> str:
        """The number, or the clash, as shown in the cell."""
        return "/".join(map(str, self.numbers)) + (PART if self.is_part else "")


@dataclass(frozen=True, slots=True)
class Drawing:
    """A grid with its headings.

    Attributes:
        title: one or two words.
        caption: a line that says what is shown.
        columns: a heading per column.
        rows: a heading per row; may be empty strings.
        grid: a list of cells per row; None where nothing lies.
        notes: sentences about what is wrong or left out.
    """

    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    grid: tuple[tuple[Cell | None, ...], ...]
    notes: tuple[str, ...] = ()


def walk(begin: Callable[[list[int]], int], geometry: Geometry, name: str) -> list[Piece]:
    """Ask a program for a whole extent, from its start to its end.

    Args:
        begin: runs ``iomap_begin`` over the 32 words of its record, in place.
        geometry: of the extent.
        name: of the program, for messages.

    Raises:
        ProgramError: an answer is not HANDLED, or cannot be drawn; names the position.
    """
    pieces: list[Piece] = []
    pos = 0
    while pos < geometry.length:
        words = _inputs(geometry, pos)
        status = begin(words)
        if status != HANDLED:
            raise ProgramError(f"{name}: pos {pos}: the answer is {status}, not HANDLED")
        answer = dict(zip(CTX_WORDS, words, strict=False))
        strip, addr, length = answer["strip"], answer["addr"], answer["length"]
        if not 0 <= strip < geometry.nr_strips:
            raise ProgramError(
                f"{name}: pos {pos}: strip {strip} is not in 0..{geometry.nr_strips - 1}"
            )
        if length <= 0 or length % BLOCK or addr % BLOCK:
            raise ProgramError(
                f"{name}: pos {pos}: addr {addr}, length {length}: "
                f"must be multiples of {BLOCK}, length positive"
            )
        if addr < 0 or addr > geometry.strip_length - length:
            raise ProgramError(
                f"{name}: pos {pos}: addr {addr} + {length} leaves the strip of "
                f"{geometry.strip_length} bytes"
            )
        pieces.append(Piece(pos, length, strip, addr))
        if len(pieces) > CELLS_MAX:
            raise UsageError(f"{name}: more than {CELLS_MAX} pieces; draw fewer --rows")
        pos += length
    return pieces


def _inputs(geometry: Geometry, pos: int) -> list[int]:
    words = [pos, geometry.length - pos, geometry.unit, geometry.nr_strips]
    words += [geometry.strip_length, geometry.seed, *geometry.params]
    return words + [0] * (NR_WORDS - len(words))


def cell_size(unit: int, *maps: Sequence[Piece]) -> int:
    """Return the largest size that divides *unit* and at which no piece is cut, bytes."""
    size = unit
    for pieces in maps:
        for piece in pieces:
            size = math.gcd(size, piece.offset, piece.length, piece.addr)
    return size


def places(pieces: Sequence[Piece], cell: int) -> dict[int, tuple[int, int]]:
    """Return ``(column, addr)`` of each cell of the file, by its number."""
    found: dict[int, tuple[int, int]] = {}
    for piece in pieces:
        for inside in range(0, piece.length, cell):
            number = (piece.offset + inside) // cell
            found[number] = piece.column, piece.addr + inside
    return found


def draw_program(
    title: str,
    pieces: Sequence[Piece],
    geometry: Geometry,
    *,
    cell: int,
    params: Mapping[str, int] | None = None,
    resting: frozenset[int] = frozenset(),
) -> Drawing:
    """Arrange the map of a program: a column per strip, a row per address.

    Args:
        title: what stands above.
        pieces: as from `walk`.
        geometry: what was walked.
        cell: bytes of a cell, as from `cell_size`.
        params: by name, for the caption.
        resting: numbers of the cells to be drawn pale.
    """
    taken: dict[tuple[int, int], list[int]] = {}
    for number, (strip, addr) in places(pieces, cell).items():
        taken.setdefault((addr // cell, strip), []).append(number)
    nr_rows, nr_cells = geometry.strip_length // cell, geometry.length // cell
    if nr_cells > CELLS_MAX:
        raise UsageError(f"{title}: {nr_cells} cells; at most {CELLS_MAX} are drawn: fewer --rows")

    def at(row: int, strip: int) -> Cell | None:
        numbers = taken.get((row, strip))
        if not numbers:
            return None
        first = numbers[0]
        words = "; ".join(
            _sentence(number, cell, f"strip {strip}", row * cell) for number in numbers
        )
        row_of_file = first // geometry.nr_strips
        tone = row_of_file / max(1, nr_rows - 1)
        hue = first * cell // geometry.unit % geometry.nr_strips
        return Cell(tuple(numbers), hue, tone, words, first in resting)

    grid = tuple(
        tuple(at(row, strip) for strip in range(geometry.nr_strips)) for row in range(nr_rows)
    )
    return Drawing(
        title,
        caption_of(geometry, params or {}),
        tuple(f"strip {strip}" for strip in range(geometry.nr_strips)),
        tuple(format_size(row * cell) if row else "0" for row in range(nr_rows)),
        grid,
        tuple(_notes(grid, cell, geometry.unit)),
    )


def caption_of(geometry: Geometry, params: Mapping[str, int]) -> str:
    """Return a geometry in words: ``unit 64KiB, 4 strips of 512KiB, seed 1, chunk 131072``."""
    strips = f"{geometry.nr_strips} strip{'s' if geometry.nr_strips > 1 else ''}"
    words = [
        f"unit {format_size(geometry.unit)}",
        f"{strips} of {format_size(geometry.strip_length)}",
        f"seed {geometry.seed}",
        *(f"{name} {value}" for name, value in params.items()),
    ]
    return ", ".join(words)


def _notes(grid: tuple[tuple[Cell | None, ...], ...], cell: int, unit: int) -> list[str]:
    cells = [found for row in grid for found in row]
    clashes = sum(found is not None and len(found.numbers) > 1 for found in cells)
    empty = cells.count(None)
    notes = []
    if cell != unit:
        notes.append(f"the program cuts units: a cell is {format_size(cell)}")
    if clashes or empty:
        notes.append(f"not one to one: {clashes} places are claimed twice or more, {empty} by none")
    return notes


def _sentence(number: int, cell: int, column: str, addr: int) -> str:
    first, last = format_size(number * cell), format_size((number + 1) * cell)
    return f"{number}: file {first} to {last}, {column} at {format_size(addr)}"
