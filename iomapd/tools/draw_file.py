# SPDX-License-Identifier: MIT
"""The drawing of a file on a mount: a column per member, the file's units on it by address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iomapd.errors import UsageError
from iomapd.geometry.sizes import format_size
from iomapd.tools.draw import Cell, Drawing, Piece, cell_size

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
    columns = {e["member"]: column for column, e in enumerate(sorted(found, key=_by_member))}
    members = sorted(columns)
    bases = {m: min(e["address"] for e in found if e["member"] == m) for m in members}
    pieces = [
        Piece(
            e["offset"], e["length"], members.index(e["member"]),
            e["address"] - bases[e["member"]], e["type"] == "mapped",
        )
        for e in found
    ]  # fmt: skip
    cell = cell_size(unit, pieces)
    stacks = _stacks(pieces, cell, unit, rows, [bases[m] for m in members])
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
        tuple(_notes(pieces, cell, unit, stacks)),
    )


def _by_member(extent: dict[str, Any]) -> int:
    return int(extent["member"])


def _stacks(
    pieces: Sequence[Piece], cell: int, unit: int, rows: int, bases: Sequence[int]
) -> list[list[Cell]]:
    """Return the first *rows* cells of each column, lowest address first."""
    nr_columns = len(bases)
    stacks: list[list[Cell]] = [[] for _ in bases]
    end: dict[int, int] = {}
    file_end = max(piece.offset + piece.length for piece in pieces)
    for piece in sorted(pieces, key=lambda p: (p.column, p.addr)):
        stack = stacks[piece.column]
        for inside in range(0, piece.length, cell):
            if len(stack) == rows:
                break
            offset, addr = piece.offset + inside, piece.addr + inside
            number = offset // cell
            address = bases[piece.column] + addr
            words = (
                f"{number}: file {format_size(offset)} to {format_size(offset + cell)}, "
                f"address {address}" + ("" if piece.is_written else ", not written")
            )
            is_cut = bool(stack) and end[piece.column] != addr
            hue = offset // unit % nr_columns
            stack.append(
                Cell((number,), hue, offset / file_end, words, not piece.is_written, is_cut)
            )
            end[piece.column] = addr + cell
    return stacks


def _notes(
    pieces: Sequence[Piece], cell: int, unit: int, stacks: Sequence[Sequence[Cell]]
) -> list[str]:
    notes = []
    if cell != unit:
        notes.append(f"not everything is in whole units: a cell is {format_size(cell)}")
    left = sum(piece.length for piece in pieces) // cell - sum(map(len, stacks))
    if left:
        notes.append(f"{left} more cells are below; --rows shows more")
    if not all(piece.is_written for piece in pieces):
        notes.append("pale cells are allocated and not written")
    return notes
