# SPDX-License-Identifier: MIT
"""Line numbers for messages about a TOML file: ``tomllib`` gives values without places.

Good enough for messages and used for nothing else: a line that only looks like a
key, inside a multi-line string, may be counted; a key that cannot be found has
the line of its table.
"""

from __future__ import annotations

import re
from typing import Final

Key = tuple[str | int, ...]

_HEADER: Final = re.compile(r"\s*(\[\[|\[)\s*([^\[\]]+?)\s*\]")
_PAIR: Final = re.compile(r"""\s*((?:[\w.\- ]|"[^"]*"|'[^']*')+?)\s*=""")
_PART: Final = re.compile(r""""([^"]*)"|'([^']*)'|([\w-]+)""")


def key_lines(text: str) -> dict[Key, int]:
    """Map keys to the lines they stand on.

    Returns:
        Lines, from 1, by key: ``("volume", "unit")``, ``("member", 1, "path")``;
        tables are keys too: ``("volume",)``, ``("member", 1)``.
    """
    lines: dict[Key, int] = {}
    table: Key = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = _parts(header[2])
            if header[1] == "[[":
                table = (*table, sum(known[:-1] == table for known in lines if len(known) > 1))
            lines[table] = number
        elif pair := _PAIR.match(line):
            lines.setdefault((*table, *_parts(pair[1])), number)
    return lines


def line_of(lines: dict[Key, int], key: Key) -> int | None:
    """Return the line of *key*, else of the table it is in, else None."""
    while key:
        if key in lines:
            return lines[key]
        key = key[:-1]
    return None


def _parts(dotted: str) -> Key:
    return tuple(match[1] or match[2] or match[3] or "" for match in _PART.finditer(dotted))
