# SPDX-License-Identifier: MIT
"""A scene as PNG, through matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from iomapd.errors import UsageError
from iomapd.tools.scene import RADIUS, SIZES, Box

if TYPE_CHECKING:
    from iomapd.tools.scene import Role, Scene, Words

PIXELS_PER_INCH: Final = 100.0
_SCALE: Final = 2  # for screens with small pixels
_POINTS: Final = 72.0 / PIXELS_PER_INCH
_INK: Final[dict[Role, str]] = {"title": "#1f2328", "cell": "#1f2328"}
_INK_OTHER: Final = "#59636e"
_ALIGN: Final = {"start": "left", "middle": "center", "end": "right"}


def require_matplotlib(option: str) -> None:
    """Check before anything is computed that a PNG can be made.

    Raises:
        UsageError: matplotlib is not installed; names *option*.
    """
    try:
        import matplotlib  # noqa: F401  asked for, not used yet
    except ImportError as error:
        raise UsageError(
            f"{option}: matplotlib is not installed: pip install 'iomapd[charts]'"
        ) from error


def write_png(scene: Scene, path: Path) -> None:
    """Draw *scene* on white, two pixels of the file for one of the scene."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size = scene.width / PIXELS_PER_INCH, scene.height / PIXELS_PER_INCH
    figure = Figure(figsize=size, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, scene.width)
    axes.set_ylim(scene.height, 0)
    axes.axis("off")
    for item in scene.items:
        if isinstance(item, Box):
            _box(axes, item)
        else:
            _words(axes, item)
    figure.savefig(path, format="png", dpi=_SCALE * PIXELS_PER_INCH)


def _box(axes: Any, box: Box) -> None:
    from matplotlib.patches import FancyBboxPatch

    radius = min(RADIUS, box.height / 2)
    # The style grows the rectangle by its padding; none is asked for.
    style = f"round,pad=0,rounding_size={radius}"
    axes.add_patch(
        FancyBboxPatch(
            (box.x, box.y), box.width, box.height, boxstyle=style, facecolor=box.fill, linewidth=0
        )
    )


def _words(axes: Any, words: Words) -> None:
    axes.text(
        words.x,
        words.y,
        words.text,
        fontsize=SIZES[words.role] * _POINTS,
        fontweight="bold" if words.role == "title" else "normal",
        color=words.fill or _INK.get(words.role, _INK_OTHER),
        ha=_ALIGN[words.anchor],
        va="center_baseline",
    )
