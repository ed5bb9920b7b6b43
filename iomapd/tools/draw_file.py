# SPDX-License-Identifier: MIT
"""The drawing of a file on a mount: a column per member, the file's units on it by address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iomapd.errors import UsageError
from iomapd.geometry.sizes import format_size
from iomapd.tools.draw import PART, Cell, Drawing, Piece

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def draw_file(path: Path, body: dict[str, Any], unit: int, rows: int) -> Drawing:
    """Arrange a file.

    What lies one below the other on a member need not be neighbours there; where
    they are not, the cell is marked as cut.

    Args:
        path: of the file, for the title.
        body: as ``iomapd map --json`` gives it.
        unit: stripe unit of the file's layout, bytes.
        rows: most rows to show; what the file has beyond is counted in a note.

    Raises:
        UsageError: the file has no bytes on any member.
    """
    found = [e for e in body["extents"] if e["type"] in ("mapped", "unwritten")]
    if not found:
        raise UsageError(f"{path}: has no bytes on any member; there is nothing to draw")
    members = sorted({e["member"] for e in found})
    pieces = [
        Piece(
            e["offset"], e["length"], members.index(e["member"]),
            e["address"], e["type"] == "mapped",
        )
        for e in found
    ]  # fmt: skip
    stacks = _stacks(pieces, unit, len(members))
    left = sum(len(stack) - rows for stack in stacks if len(stack) > rows)
    stacks = [stack[:rows] for stack in stacks]
    height = max(len(stack) for stack in stacks)
    grid = tuple(
        tuple(stack[row] if row < len(stack) else None for stack in stacks) for row in range(height)
    )
    names = {e["member"]: e["path"].rpartition("/")[2] for e in found}
    return Drawing(
        path.name,
        f"{format_size(body['size'])}, unit {format_size(unit)}, {len(members)} members",
        tuple(f"{member} {names[member]}" for member in members),
        ("",) * height,
        grid,
        tuple(_notes(grid, left)),
    )


def _stacks(pieces: Sequence[Piece], unit: int, nr_columns: int) -> list[list[Cell]]:
    """Return the cells of each column, lowest address first."""
    stacks: list[list[Cell]] = [[] for _ in range(nr_columns)]
    ends = [-1] * nr_columns
    file_end = max(piece.offset + piece.length for piece in pieces)
    for piece in sorted(pieces, key=lambda p: (p.column, p.addr)):
        stack = stacks[piece.column]
        offset, end = piece.offset, piece.offset + piece.length
        while offset < end:
            number = offset // unit
            stop = min(end, (number + 1) * unit)
            addr = piece.addr + offset - piece.offset
            cell = Cell(
                (number,),
                number % nr_columns,
                offset / file_end,
                f"{number}: file {format_size(offset)} to {format_size(stop)}, address {addr}"
                + ("" if piece.is_written else ", not written"),
                is_resting=not piece.is_written,
                is_cut=bool(stack) and ends[piece.column] != addr,
                is_part=stop - offset < unit,
            )
            stack.append(cell)
            ends[piece.column] = addr + stop - offset
            offset = stop
    return stacks


def _notes(grid: Sequence[Sequence[Cell | None]], left: int) -> list[str]:
    cells = [cell for row in grid for cell in row if cell is not None]
    notes = []
    if left:
        notes.append(f"{left} more cells are below; --rows shows more")
    if any(cell.is_part for cell in cells):
        notes.append(f"{PART} part of a unit")
    if any(cell.is_resting for cell in cells):
        notes.append("pale, or with a dot: allocated and not written")
    return notes
