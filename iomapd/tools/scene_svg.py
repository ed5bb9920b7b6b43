# SPDX-License-Identifier: MIT
"""A scene as SVG: scales, shows words under the pointer, and reads on light and dark ground.

The ground is left transparent.  Words outside the cells take their colour from a
style sheet that asks the reader's preference; cells bring colour and ink along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from iomapd.tools.scene import RADIUS, SIZES, Box, Words

if TYPE_CHECKING:
    from iomapd.tools.scene import Scene

_FONT: Final = "system-ui, 'Segoe UI', 'Helvetica Neue', 'DejaVu Sans', sans-serif"
_STYLE: Final = f"""\
text {{ font-family: {_FONT}; dominant-baseline: central; font-variant-numeric: tabular-nums }}
.title {{ font-size: {SIZES["title"]}px; font-weight: 600; fill: #1f2328 }}
.caption {{ font-size: {SIZES["caption"]}px; fill: #59636e }}
.heading {{ font-size: {SIZES["heading"]}px; fill: #59636e }}
.note {{ font-size: {SIZES["note"]}px; fill: #59636e }}
.cell {{ font-size: {SIZES["cell"]}px }}
@media (prefers-color-scheme: dark) {{
  .title {{ fill: #f0f6fc }}
  .caption, .heading, .note {{ fill: #9198a1 }}
}}"""


def to_svg(scene: Scene) -> str:
    """Return *scene* as a document of its own, in UTF-8 text."""
    width, height = _number(scene.width), _number(scene.height)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img">',
        f"<title>{escape(scene.title)}</title>",
        f"<style>\n{_STYLE}\n</style>",
        *(_box(item) if isinstance(item, Box) else _words(item) for item in scene.items),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _box(box: Box) -> str:
    radius = _number(min(RADIUS, box.height / 2))
    shape = (
        f'<rect x="{_number(box.x)}" y="{_number(box.y)}" width="{_number(box.width)}" '
        f'height="{_number(box.height)}" rx="{radius}" fill="{box.fill}"'
    )
    return f"{shape}><title>{escape(box.words)}</title></rect>" if box.words else f"{shape}/>"


def _words(words: Words) -> str:
    anchor = f' text-anchor="{words.anchor}"' if words.anchor != "start" else ""
    fill = f' fill="{words.fill}"' if words.fill else ""
    # Without this a pointer over the number would not find the cell's words.
    passing = ' pointer-events="none"' if words.role == "cell" else ""
    return (
        f'<text class="{words.role}" x="{_number(words.x)}" y="{_number(words.y)}"'
        f"{anchor}{fill}{passing}>{escape(words.text)}</text>"
    )


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
