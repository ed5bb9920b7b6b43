# SPDX-License-Identifier: MIT
"""What several commands are told of mapping programs and their extents."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from iomapd.errors import UsageError

ParamOption = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=INTEGER", help="Parameter of the program; may be repeated."),
]

STRIPS_MAX: Final = 64
"""Most strips of an extent: one per member, and so many members a volume may have."""

_INTEGERS: Final = range(-(1 << 63), 1 << 63)


def params_of(given: list[str] | None) -> dict[str, int]:
    """Read NAME=INTEGER options; integers also as 0x10000 or 0b1.

    Raises:
        UsageError: one is something else, or no signed 64-bit integer.
    """
    return dict(_read(text) for text in given or [])


def _read(text: str) -> tuple[str, int]:
    name, _, value = text.partition("=")
    try:
        if name and int(value, 0) in _INTEGERS:
            return name, int(value, 0)
    except ValueError:
        pass  # said below, like a number that is too large
    raise UsageError(f"--param {text}: must be NAME=INTEGER, a signed 64-bit one")
