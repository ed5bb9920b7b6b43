# SPDX-License-Identifier: MIT
"""``iomap_end`` and ``iomap_ioend`` of programs: they hear how it ended, and count.

``iomap_end`` is called after each read or write that the control plane served,
once per extent it touched; ``iomap_ioend`` after writes that failed, filled
unwritten blocks or moved the end of the file (the rule of the fuse-iomap series).
What they return does not matter and they change nothing but their counters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from iomapd.abi.program import (
    CTX_COUNT,
    CTX_POS,
    CTX_SIZE,
    END_C0,
    END_ERROR,
    END_OPFLAGS,
    END_WRITTEN,
    WORD,
)
from iomapd.mapping.walk import prepare
from iomapd.native.calls import call1
from iomapd.native.memory import load64, store64
from iomapd.native.region import Region

if TYPE_CHECKING:
    from iomapd.control.programs import Programs
    from iomapd.control.slowpath import SlowPath
    from iomapd.mapping.extent import Extent

OP_WRITE: Final = 1


class Ends:
    """Tells programs of ends, and keeps their counters, by program row and name."""

    def __init__(self, programs: Programs, slow: SlowPath) -> None:
        self._programs = programs
        self._slow = slow
        self._ctx = Region(CTX_SIZE)
        self.counters: dict[int, dict[str, int]] = {}

    def tell(
        self, ino: int, start: int, end: int, *, done: int, writing: bool, ioend: bool = False
    ) -> None:
        """Tell the programs behind ``[start, end)`` (bytes) that a request has ended.

        Args:
            ino: the inode.
            start: file position of the request.
            end: one past what it asked for.
            done: bytes done, or a negative errno.
            writing: it was a write.
            ioend: call ``iomap_ioend`` instead of ``iomap_end``.
        """
        if not self._programs.have_ends:
            return
        for low, high, known in self._slow.known(ino, start, end):
            if known.extent is not None and len(known.extent.strips) > 1:
                written = done if done < 0 else min(high - low, max(0, start + done - low))
                self._call(known.extent, low, high, (written, int(writing), ioend))

    def _call(self, extent: Extent, low: int, high: int, how: tuple[int, int, bool]) -> None:
        number, loaded = self._programs.behind(extent)
        written, opflags, ioend = how
        function = loaded.ioend_address if ioend else loaded.end_address
        if not function:
            return
        ctx = self._ctx.addr
        self._ctx.write(0, bytes(CTX_SIZE))
        prepare(self._programs.encode(extent).addr, ctx)
        store64(ctx + CTX_POS, low - extent.offset)
        store64(ctx + CTX_COUNT, high - low)
        store64(ctx + END_WRITTEN, written)
        store64(ctx + END_OPFLAGS, OP_WRITE * opflags)
        store64(ctx + END_ERROR, max(0, -written))
        call1(function, ctx)
        counters = self.counters.setdefault(number, {})
        for index, name in enumerate(loaded.admission.counters):
            increment = load64(ctx + END_C0 + WORD * index)
            counters[name] = counters.get(name, 0) + increment

    def describe(self) -> dict[str, dict[str, int]]:
        """Return the counters by program name, with the digest's start, and counter name."""
        return {self._programs.label(number): dict(c) for number, c in self.counters.items()}
