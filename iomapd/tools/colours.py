# SPDX-License-Identifier: MIT
"""Colours of drawings: the hue is the place in a row of the file, the tone how far into it.

Hues are those of Okabe and Ito ("Color Universal Design", 2008), which people with
any common colour vision tell apart, in an order that keeps neighbours unlike.  No
meaning hangs on colour alone: every cell carries its number.
"""

from __future__ import annotations

from typing import Final

HUES: Final = (
    (0x00, 0x72, 0xB2),  # blue
    (0xE6, 0x9F, 0x00),  # orange
    (0x00, 0x9E, 0x73),  # green
    (0xCC, 0x79, 0xA7),  # pink
    (0x56, 0xB4, 0xE9),  # sky
    (0xD5, 0x5E, 0x00),  # vermilion
    (0xB8, 0xA8, 0x00),  # yellow, darkened: the original is no ground for tints
    (0x6A, 0x51, 0xA3),  # violet, for their black: a tint of black is the grey of what rests
)
RESTING: Final = "#e3e6ea"
"""A unit that stays where it is while others move."""

CLASH: Final = "#cf222e"
"""A place that more than one unit claims."""

# Pure black and white: the better one then has a contrast of at least 4.5 on any ground.
INK_DARK: Final = "#000000"
INK_LIGHT: Final = "#ffffff"

_LIGHTEST: Final = 0.30  # share of the hue in the first row of a file; the rest is white
_WHITE: Final = 255


def tint(column: int, tone: float) -> str:
    """Return the fill of a cell as ``#rrggbb``.

    Args:
        column: place of the unit in its row of the file; hues repeat after eight.
        tone: 0 (head of the file, light) to 1 (end, full colour).
    """
    share = _LIGHTEST + (1 - _LIGHTEST) * min(max(tone, 0.0), 1.0)
    mixed = (round(_WHITE + (part - _WHITE) * share) for part in HUES[column % len(HUES)])
    return "#" + "".join(f"{part:02x}" for part in mixed)


def ink(fill: str) -> str:
    """Return the text colour, dark or light, that reads better on *fill* (``#rrggbb``)."""
    ground = luminance(fill)
    against_dark = (ground + 0.05) / (luminance(INK_DARK) + 0.05)
    against_light = (luminance(INK_LIGHT) + 0.05) / (ground + 0.05)
    return INK_DARK if against_dark >= against_light else INK_LIGHT


def luminance(colour: str) -> float:
    """Return the relative luminance of ``#rrggbb``, 0 to 1, as WCAG 2 defines it."""
    parts = [int(colour[start : start + 2], 16) / _WHITE for start in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
