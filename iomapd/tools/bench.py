# SPDX-License-Identifier: MIT
"""How near does a mount come to what its members can give?

What is measured, at each point (1 MiB blocks; sequential and random, read and
write, O_DIRECT and buffered, 1 and 8 requests in flight):

    member N    the twin of one member (see `scratch`): one file or device alone.
                First round only; it is context, nothing is divided by it.
    ceiling     all twins at once, one fio job each with the whole queue depth:
                more than any one file striped over them could get.
    mount       one file on the mounted volume, filled beforehand.

Ceiling and mount are measured back to back in every round, so that both meet
the machine in the same mood; "of ceiling" is the median over rounds of their
ratio, "spread" half the distance from the best to the worst round of the
mount, relative to its median.

What would make it meaningless: members that share one medium (striping cannot
help), a ceiling bound by CPU (members in memory: then the ratio is the cost of
the software), files smaller than a device's cache.  O_DIRECT repeats for the
given time.  Buffered reads start cold and go through the file once.  Buffered
writes end in the page cache on both sides and are not flushed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from iomapd.errors import IomapdError, SpaceError
from iomapd.geometry.sizes import format_size
from iomapd.tools import machine
from iomapd.tools.admin import request
from iomapd.tools.fio import Pattern, Point, Rate, Target, fill, measure, queue_engine
from iomapd.tools.scratch import Twins, twins_of

if TYPE_CHECKING:
    from iomapd.tools.progress import Progress

PATTERNS: Final[tuple[Pattern, ...]] = ("read", "randread", "write", "randwrite")
FULL: Final = tuple(
    Point(pattern, direct, depth)
    for direct, pattern, depth in product((True, False), PATTERNS, (1, 8))
)
"""Every point."""
QUICK: Final = tuple(point for point in FULL if point.direct)
"""The points that a page cache does not blur."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How much to measure: *size* is bytes per file, *seconds* per target and round."""

    points: tuple[Point, ...] = FULL
    rounds: int = 3
    seconds: float = 0.25
    size: int = 256 << 20


@dataclass(frozen=True, slots=True)
class PointResult:
    """The rates of each target at one point, one per round."""

    point: Point
    rates: dict[str, list[Rate]] = field(default_factory=dict)

    def bandwidth(self, target: str) -> float | None:
        """Return the median bandwidth of *target*, bytes per second, or None."""
        rates = self.rates.get(target)
        return median(rate.bandwidth for rate in rates) if rates else None

    def of_ceiling(self) -> float | None:
        """Return the median over rounds of mount / ceiling, or None without both."""
        pairs = zip(self.rates.get("mount", []), self.rates.get("ceiling", []), strict=False)
        ratios = [mount.bandwidth / ceiling.bandwidth for mount, ceiling in pairs]
        return median(ratios) if ratios else None

    def spread(self) -> float | None:
        """Return half the range of the mount's rounds relative to their median, or None."""
        rates = [rate.bandwidth for rate in self.rates.get("mount", [])]
        return (max(rates) - min(rates)) / 2 / median(rates) if rates else None


@dataclass(frozen=True, slots=True)
class BenchReport:
    """Everything a table, a chart or a later comparison needs."""

    volume: dict[str, Any]
    settings: Settings
    results: tuple[PointResult, ...]
    notes: tuple[str, ...]
    machine: dict[str, object] = field(default_factory=machine.describe)

    def members(self) -> list[str]:
        """Return the names of the members that were measured, in order."""
        names = {name: None for result in self.results for name in result.rates}
        return [name for name in names if name.startswith("member")]

    def body(self) -> dict[str, Any]:
        """Return the body of ``iomapd bench --json``; rates in bytes per second."""
        return {
            "schema": "iomapd.bench",
            "version": 1,
            "machine": self.machine,
            "volume": self.volume,
            "settings": {
                "rounds": self.settings.rounds,
                "seconds": self.settings.seconds,
                "size": self.settings.size,
            },
            "notes": list(self.notes),
            "points": [_point_body(result) for result in self.results],
        }


def run_bench(mountpoint: Path, settings: Settings, progress: Progress) -> BenchReport:
    """Measure the volume mounted on *mountpoint* and its members.

    Scratch files on the mount and beside the members are removed whatever happens.

    Raises:
        MountError: nothing of ours is mounted there.
        SpaceError: the volume has no room for the scratch file.
        FioError: fio is missing or failed.
    """
    volume = request(mountpoint, "info")
    members = [Path(member["path"]) for member in volume["members"]]
    progress("filling scratch files", 0, 0)
    with _file_on(mountpoint, settings.size) as mount, twins_of(members, settings.size) as twins:
        results = _rounds(settings, mount, twins, progress)
    summary = {key: volume.get(key) for key in ("uuid", "unit", "program", "mapper", "members")}
    return BenchReport(summary, settings, results, (*twins.notes, *_notes(volume["members"])))


def _rounds(
    settings: Settings, mount: Target, twins: Twins, progress: Progress
) -> tuple[PointResult, ...]:
    results = tuple(PointResult(point) for point in settings.points)
    ceiling = twins.together()
    pair = [target for target in (ceiling, mount) if target is not None]
    total = settings.rounds * len(results)
    for step, (number, result) in enumerate(product(range(settings.rounds), results)):
        progress(f"round {number + 1}: {describe_point(result.point)}", step, total)
        targets: Sequence[Target] = [*twins.targets, *pair] if number == 0 else pair
        for name, rate in measure(result.point, targets, settings.seconds).items():
            result.rates.setdefault(name, []).append(rate)
    return results


def _notes(members: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield what a reader must know of how the server accesses the members."""
    cached = [m for m in members if m["io_mode"] != "direct" and not m.get("memory_backed")]
    if cached:
        yield (
            f"the server accesses members through the page cache ({cached[0]['io_mode']}), the "
            "ceiling with O_DIRECT does not: repeated reads of the mount may come from memory"
        )


def describe_point(point: Point) -> str:
    """Return a point in words: ``1MiB random read, O_DIRECT, 8 in flight``."""
    order = "random" if point.pattern.startswith("rand") else "sequential"
    kind = "write" if point.is_write else "read"
    cache = "O_DIRECT" if point.direct else "buffered"
    return f"{format_size(point.block_size)} {order} {kind}, {cache}, {point.depth} in flight"


@contextmanager
def _file_on(mountpoint: Path, size: int) -> Iterator[Target]:
    """Provide a filled file of *size* bytes on the mount, and remove it afterwards."""
    room = os.statvfs(mountpoint)
    if room.f_bavail * room.f_frsize < size:
        free = format_size(room.f_bavail * room.f_frsize)
        raise SpaceError(f"{mountpoint}: {free} free, the scratch file needs {format_size(size)}")
    path = mountpoint / f".iomapd-bench-{os.getpid()}"
    try:
        fill([path], size)
        yield Target("mount", (path,), size)
    except OSError as error:
        raise IomapdError(f"{path}: {error.strerror}") from error
    finally:
        path.unlink(missing_ok=True)


def _point_body(result: PointResult) -> dict[str, Any]:
    point = result.point
    return {
        "pattern": point.pattern,
        "direct": point.direct,
        "depth": point.depth,
        "block_size": point.block_size,
        "engine": "psync" if point.depth == 1 else queue_engine(),
        "targets": {name: _rates_body(rates) for name, rates in result.rates.items()},
        "of_ceiling": result.of_ceiling(),
        "spread": result.spread(),
    }


def _rates_body(rates: list[Rate]) -> dict[str, Any]:
    return {
        "bandwidth": median(rate.bandwidth for rate in rates),
        "iops": median(rate.iops for rate in rates),
        "latency_ns": median(rate.latency_ns for rate in rates),
        "bandwidth_of_rounds": [rate.bandwidth for rate in rates],
    }
