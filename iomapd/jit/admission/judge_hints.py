# SPDX-License-Identifier: MIT
"""Are a program's hints true?  For whoever writes it: a false hint refuses no program.

The server believes no hint in any case (`control.hints`).  Here every block of one small extent is
asked, and each mapping that the program would have known is compared with what it answers there.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from iomapd.abi import HANDLED
from iomapd.abi.program import (
    CTX_ADDR,
    CTX_COUNT,
    CTX_FIRST_HINT,
    CTX_LENGTH,
    CTX_POS,
    CTX_SIZE,
    CTX_STRIP,
    HINTS_SIZE,
)
from iomapd.abi.units import BLOCK
from iomapd.jit.admission.proving import Geometry
from iomapd.native.calls import call1
from iomapd.native.memory import load64, store64
from iomapd.native.region import Region

if TYPE_CHECKING:
    from collections.abc import Sequence

_UNIT: Final = 16 * BLOCK
_STRIPS: Final = 4
_ROWS: Final = 3  # an extent of the ladder


class Judged(NamedTuple):
    """How many upserts were wished for, and how many of those name what the map answers."""

    upserts: int
    true: int


def judge_hints(address: int, params: Sequence[int]) -> Judged:
    """Ask the program at *address* for every block of an extent, and judge its upserts.

    Args:
        address: of a compiled ``iomap_begin`` whose map is proved.
        params: values of its parameters.
    """
    extent = Geometry(_UNIT, _STRIPS, _ROWS * _UNIT, 1, tuple(params))
    asker = _Asker(address, extent)
    upserts = true = 0
    for pos in range(0, extent.length, BLOCK):
        if asker.ask(pos) is None:
            continue
        wanted = asker.upsert()
        if wanted[1]:
            upserts += 1
            true += asker.is_true(*wanted)
    return Judged(upserts, true)


class _Asker:
    """Asks about one extent."""

    def __init__(self, address: int, extent: Geometry) -> None:
        self._address = address
        self._extent = extent
        self._region = Region(CTX_SIZE)
        extent.fill(self._region.addr)

    def ask(self, pos: int) -> tuple[int, int, int] | None:
        """Return strip, addr and length at *pos*; None when it is not answered."""
        ctx = self._region.addr
        self._region.write(CTX_FIRST_HINT, bytes(HINTS_SIZE))
        store64(ctx + CTX_POS, pos)
        store64(ctx + CTX_COUNT, self._extent.length - pos)
        if call1(self._address, ctx) != HANDLED:
            return None
        return load64(ctx + CTX_STRIP), load64(ctx + CTX_ADDR), load64(ctx + CTX_LENGTH)

    def upsert(self) -> tuple[int, int, int, int]:
        """Return pos, length, strip and addr of the upsert beside the last answer."""
        pos, length, strip, addr = struct.unpack("<4q", self._region.read(CTX_FIRST_HINT, 32))
        return pos, length, strip, addr

    def is_true(self, pos: int, length: int, strip: int, addr: int) -> bool:
        """Tell whether the map puts all of ``[pos, pos + length)`` there."""
        end = pos + length
        if pos % BLOCK or length % BLOCK or length < 0 or not 0 <= pos < end <= self._extent.length:
            return False
        at = pos
        while at < end:
            answer = self.ask(at)
            if answer is None or answer[:2] != (strip, addr + at - pos):
                return False
            at += max(answer[2], BLOCK)
        return True
