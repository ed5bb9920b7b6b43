# SPDX-License-Identifier: MIT
"""Layout drawings on a terminal: numbers on coloured ground, or plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from iomapd.cli import console

if TYPE_CHECKING:
    from iomapd.tools.draw import Drawing

BETWEEN = 5  # blanks between two drawings
RESTING = "."

Part = tuple[str, str]
"""Text, and the ``#rrggbb`` of its ground or nothing."""


def show(drawings: Sequence[Drawing]) -> None:
    """Print *drawings* side by side, in colours where they are welcome, then their notes."""
    panels = [_lines(drawing, is_titled=len(drawings) > 1) for drawing in drawings]
    widths = [max(len(_plain(line)) for line in panel) for panel in panels]
    nothing: list[Part] = []
    for parts in zip_longest(*panels, fillvalue=nothing):
        line: list[Part] = []
        for part, width in zip(parts, widths, strict=True):
            line += [*part, (" " * (width - len(_plain(part)) + BETWEEN), "")]
        _print(line)
    for note in dict.fromkeys(note for drawing in drawings for note in drawing.notes):
        console.echo(f"\n{note}")


def _lines(drawing: Drawing, *, is_titled: bool) -> list[list[Part]]:
    from iomapd.tools.scene import fill_of

    labels = [cell.label for row in drawing.grid for cell in row if cell is not None]
    heads = [heading.removeprefix("strip ") for heading in drawing.columns]
    width = max(map(len, [*labels, *heads])) + 2
    margin = max(map(len, drawing.rows))
    lines: list[list[Part]] = [[(drawing.title, "")]] if is_titled else []
    lines.append([(" " * (margin + 1), ""), *((f"{head:>{width - 1}} ", "") for head in heads)])
    for heading, row in zip(drawing.rows, drawing.grid, strict=True):
        line: list[Part] = [(f"{heading:>{margin}} ", "")]
        for cell in row:
            if cell is None:
                line.append((" " * width, ""))
                continue
            # What rests must be told from what moves without colours, too.
            mark = RESTING if cell.is_resting else " "
            line.append((f"{cell.label:>{width - 1}}{mark}", fill_of(cell)))
        lines.append(line)
    return lines


def _plain(line: Sequence[Part]) -> str:
    return "".join(text for text, _ in line)


def _print(line: Sequence[Part]) -> None:
    if not console.is_coloured():
        console.echo(_plain(line).rstrip())
        return
    from rich.console import Console
    from rich.text import Text

    from iomapd.tools.colours import ink

    text = Text()
    for part, fill in line:
        text.append(part, f"{ink(fill)} on {fill}" if fill else "")
    Console(highlight=False).print(text, soft_wrap=True)
