# SPDX-License-Identifier: MIT
"""The samples of bench.strategies, to be asked: medians over rounds, ratios within rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from statistics import median
from typing import Any, Final

GIB: Final = 1 << 30
RECORD: Final = 32
"""Bytes of a record in a lane's table, as in the kernel series (struct fuse_iomap_io)."""

_EXTENT: Final = 24 + 8 * 18  # its place in the block that lanes read, and its words
_STRIP: Final = 16

Where = Mapping[str, Any]


class Samples:
    """All samples of a run.

    Args:
        body: the JSON that bench.strategies writes.
    """

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.body = body
        self.grid: Mapping[str, Any] = body["grid"]
        self.strategies = list(dict.fromkeys(s["strategy"] for s in body["samples"]))
        self._found: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
        for sample in body["samples"]:
            self._found.setdefault(_key(sample), []).append(sample)

    @property
    def small(self) -> int:
        """The smallest unit, bytes."""
        return min(self.grid["units"])

    @property
    def middle(self) -> int:
        """The unit that most people would take, 64 KiB where it was measured."""
        return min(self.grid["units"], key=lambda unit: abs(unit - (1 << 16)))

    def where(self, phase: str, pattern: str, unit: int, request: int, width: int = 0) -> Where:
        """Return the place of a task, for the functions below; *width* 0: the usual one."""
        width = width or self.grid["width"]
        return {
            "phase": phase, "pattern": pattern, "unit": unit, "request": request, "width": width
        }  # fmt: skip

    def rounds(self, strategy: str, where: Where, figure: str) -> list[float]:
        """Return a figure of every round; empty when it was not measured."""
        found = self._found.get(_key({"strategy": strategy, **where}), [])
        return [_figure(sample, figure, self.body["settings"]["size"]) for sample in found]

    def median(self, strategy: str, where: Where, figure: str) -> float | None:
        """Return the median over rounds, or None when it was not measured."""
        found = self.rounds(strategy, where, figure)
        return median(found) if found else None

    def ratio(self, ours: str, theirs: str, where: Where, figure: str = "bandwidth") -> float:
        """Return the median of ratios within rounds; 0 when one side is missing."""
        found = [self.rounds(strategy, where, figure) for strategy in (ours, theirs)]
        pairs = zip(*found, strict=False)
        ratios = [our / their for our, their in pairs if their]
        return median(ratios) if ratios else 0.0

    def ratios(self, ours: str, theirs: str, phase: str = "warm") -> list[float]:
        """Return `ratio` of bandwidths over the whole grid of units and requests."""
        cells = product(("read", "randread"), self.grid["units"], self.grid["requests"])
        wheres = [self.where(phase, *cell) for cell in cells]
        return [found for it in wheres if (found := self.ratio(ours, theirs, it))]

    def costs(self, way: str) -> dict[int, Sequence[float]]:
        """Return ns per mapping of every round, by unit."""
        lines = self.body["mapping"]
        return {line["unit"]: line["ns"] for line in lines if line["way"] == way and "ns" in line}


def _key(sample: Where) -> tuple[Any, ...]:
    names = ("strategy", "phase", "pattern", "unit", "width", "request")
    return tuple(sample[name] for name in names)


def _figure(sample: Where, name: str, size: int) -> float:
    """Return a figure of a sample: one of its own, or one that follows from them."""
    match name:
        case "held":  # bytes that lanes look into, for this file
            per = RECORD
            if sample["strategy"] != "cache":
                per = _EXTENT + _STRIP * sample["width"]
            return float(sample["records"] * per)
        case "held_per_gib":  # of the file; for what grows with it
            return sample["records"] * RECORD * GIB / size
        case "cpu":  # seconds per GiB
            return sample["cpu_ns_per_gib"] / 1e9
        case "trips":  # to the control plane, per GiB
            return sample["parked"] * GIB / sample["bytes"] if sample["bytes"] else 0.0
    return float(sample[name])
