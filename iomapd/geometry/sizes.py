# SPDX-License-Identifier: MIT
"""Sizes as people write them: an integer, optionally followed by B, KiB, MiB, GiB or TiB.

Powers of two only, and spelled so: ``64K`` or ``64KB`` means 64000 to some and
65536 to others, and a stripe unit must not depend on who reads the file.
"""

from __future__ import annotations

import re
from typing import Final

from iomapd.abi.units import MAX_FILE_SIZE
from iomapd.errors import UsageError

FACTORS: Final = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
"""Suffix to bytes, smallest first."""

RULE: Final = "a size is a whole number, alone (bytes) or followed by B, KiB, MiB, GiB or TiB"

_SIZE: Final = re.compile(r"([0-9]{1,19})\s*(B|KiB|MiB|GiB|TiB)?", re.ASCII)


def parse_size(text: str | int, what: str = "size") -> int:
    """Read a size of the command line.

    Args:
        text: what the user wrote; an integer means bytes.
        what: name of the value, for the message.

    Returns:
        The size in bytes, ``0 <= size <= 2**63 - 1``.

    Raises:
        UsageError: *text* is not a size; the message names *what*, the value and the rule.
    """
    try:
        return read_size(text)
    except ValueError as exc:
        raise UsageError(f"{what} = {text}: {exc}") from None


def read_size(value: object) -> int:
    """Read a size; like `parse_size`, but the error is the broken rule alone.

    Raises:
        ValueError: *value* is not a size; the message is the rule.
    """
    # bool is an int to Python and a slip to everybody else.
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(RULE)
    if isinstance(value, int):
        nbytes = value
    else:
        match = _SIZE.fullmatch(value.strip())
        if match is None:
            raise ValueError(RULE)
        nbytes = int(match[1]) * FACTORS[match[2] or "B"]
    if not 0 <= nbytes <= MAX_FILE_SIZE:
        raise ValueError("a size lies between 0 and 2^63 - 1 bytes")
    return nbytes


def format_size(nbytes: int) -> str:
    """Write a size for people: ``64KiB``, ``1.5GiB``, ``1000B``.

    The largest suffix that leaves at least 1; two decimals at most, trailing zeros dropped.
    An exact multiple therefore reads back to the same number through ``parse_size``.

    Args:
        nbytes: bytes; a negative number keeps its sign.
    """
    if nbytes < 0:
        return "-" + format_size(-nbytes)
    suffix, factor = "B", 1
    for suffix_here, factor_here in FACTORS.items():
        if nbytes >= factor_here:
            suffix, factor = suffix_here, factor_here
    whole, rest = divmod(nbytes, factor)
    # Cut, not rounded: "1GiB" must not be printed for a byte less than it.
    hundredths = rest * 100 // factor
    fraction = f".{hundredths:02d}".rstrip("0") if hundredths else ""
    return f"{whole}{fraction}{suffix}"
