# SPDX-License-Identifier: MIT
"""Drawings as rectangles and words on a plane: what SVG and PNG have in common.

    title                              24 from the edge
    caption
              strip 0  strip 1
         0    [  0  ]  [  1  ]         panels side by side
     64KiB    [  2  ]  [  3  ]
    notes, and how to read it

Lengths are pixels of a screen; y grows downwards, as in SVG.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from iomapd.tools.colours import CLASH, RESTING, ink, tint

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from iomapd.tools.draw import Cell, Drawing

Role = Literal["title", "caption", "heading", "cell", "note"]
Anchor = Literal["start", "middle", "end"]

SIZES: Final[dict[Role, float]] = {
    "title": 17.0,
    "caption": 12.5,
    "heading": 11.5,
    "cell": 12.5,
    "note": 11.5,
}
"""Font size by role, pixels."""

LEGEND: Final = ("hue: place in its row of the file", "tone: pale at the head, full at the end")
"""How to read the colours."""

EDGE: Final = 24.0
GAP: Final = 4.0
BETWEEN: Final = 44.0  # of two panels
RADIUS: Final = 5.0
# Wide enough for its words, whatever the font: sans-serif digits and letters stay below this.
_EM: Final = 0.58


@dataclass(frozen=True, slots=True)
class Box:
    """A rounded rectangle; *words* are for whoever points at it."""

    x: float
    y: float
    width: float
    height: float
    fill: str
    words: str


@dataclass(frozen=True, slots=True)
class Words:
    """A line of text; *y* is its middle; no *fill* means the ink of its role."""

    x: float
    y: float
    text: str
    role: Role
    anchor: Anchor = "start"
    fill: str = ""


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything on the plane, in the order in which it is painted; *title* names the whole."""

    title: str
    width: float
    height: float
    items: tuple[Box | Words, ...]


def fill_of(cell: Cell) -> str:
    """Return the colour of a cell as ``#rrggbb``."""
    if len(cell.numbers) > 1:
        return CLASH
    return RESTING if cell.is_resting else tint(cell.column, cell.tone)


def compose(
    title: str, caption: str, drawings: Sequence[Drawing], notes: Sequence[str] = ()
) -> Scene:
    """Put *drawings* side by side below one title.

    Args:
        title: of the whole; a single drawing's own title is not repeated.
        caption: the line below it.
        drawings: one or more panels; their notes stand below.
        notes: more of them.
    """
    items: list[Box | Words] = [
        Words(EDGE, EDGE + 8, title, "title"),
        Words(EDGE, EDGE + 31, caption, "caption"),
    ]
    x, top, bottom = EDGE, EDGE + 62, 0.0
    is_single = len(drawings) == 1
    for drawing in drawings:
        if not is_single:
            items.append(Words(x, top, drawing.title, "caption"))
        panel = _Panel(drawing, x, top if is_single else top + 26)
        items += panel.items()
        x, bottom = panel.right + BETWEEN, max(bottom, panel.bottom)
    # A note that both panels have is said once.
    below = dict.fromkeys(note for drawing in drawings for note in drawing.notes)
    lines = [*below, *LEGEND, *notes]
    for number, note in enumerate(lines):
        items.append(Words(EDGE, bottom + 22 + 17 * number, note, "note"))
    height = bottom + 22 + 17 * len(lines) + EDGE - 14
    width = max(x - BETWEEN, *(_reach(item) for item in items)) + EDGE
    return Scene(title, round(width), round(height), tuple(items))


def _reach(item: Box | Words) -> float:
    if isinstance(item, Box):
        return item.x + item.width
    return item.x + (_width(item.text, item.role) if item.anchor == "start" else 0.0)


def _width(text: str, role: Role) -> float:
    return len(text) * SIZES[role] * _EM


class _Panel:
    """One drawing at a place: metrics first, then boxes and words."""

    def __init__(self, drawing: Drawing, x: float, y: float) -> None:
        self._drawing = drawing
        labels = [cell.label for row in drawing.grid for cell in row if cell is not None]
        widest = max((_width(label, "cell") for label in labels), default=0.0)
        heading = max(_width(column, "heading") for column in drawing.columns)
        self._cell_width = max(44.0, widest + 14, heading + 8)
        self._cell_height = 30.0 if len(drawing.rows) <= 24 else 22.0
        margin = max(_width(row, "heading") for row in drawing.rows)
        self._left = x + (margin + 12 if margin else 0.0)
        self._top = y + 18
        self.right = self._left + len(drawing.columns) * (self._cell_width + GAP) - GAP
        self.bottom = self._top + len(drawing.rows) * (self._cell_height + GAP) - GAP

    def items(self) -> Iterator[Box | Words]:
        middle = self._cell_width / 2
        for index, heading in enumerate(self._drawing.columns):
            x = self._left + index * (self._cell_width + GAP) + middle
            yield Words(x, self._top - 14, heading, "heading", "middle")
        for index, (heading, row) in enumerate(
            zip(self._drawing.rows, self._drawing.grid, strict=True)
        ):
            y = self._top + index * (self._cell_height + GAP)
            if heading:
                yield Words(self._left - 12, y + self._cell_height / 2, heading, "heading", "end")
            for column, cell in enumerate(row):
                if cell is not None:
                    yield from self._cell(cell, self._left + column * (self._cell_width + GAP), y)

    def _cell(self, cell: Cell, x: float, y: float) -> Iterator[Box | Words]:
        fill = fill_of(cell)
        if cell.is_cut:
            # A bar in the gap: the cell above is not its neighbour in the member.
            yield Box(x + 6, y - GAP / 2 - 0.75, self._cell_width - 12, 1.5, "#8c959f", "")
        yield Box(x, y, self._cell_width, self._cell_height, fill, cell.words)
        centre = x + self._cell_width / 2, y + self._cell_height / 2
        yield Words(*centre, cell.label, "cell", "middle", ink(fill))
