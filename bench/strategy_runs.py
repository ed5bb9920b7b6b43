# SPDX-License-Identifier: MIT
"""Runs of the four strategies: one volume each, the same jobs on all, with all that can be counted.

Each strategy has a volume of its own, hence a server of its own: what that server's clock and
counters did while fio worked on its mount is what the job cost.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.candidates import KIB, MIB, settle
from iomapd.cli.stats_view import difference, percentile
from iomapd.geometry.sizes import format_size
from iomapd.tools.admin import request
from iomapd.tools.create import create_volume
from iomapd.tools.fio import Pattern, Point, Rate, Target, fill, measure
from iomapd.tools.layout import change_layout
from iomapd.tools.temporary import mounted
from iomapd.volume.layout_file import load_layout

GIB: Final = 1 << 30
FILES: Final = ("large", "small")
"""Files of a shape: cold requests, large and small, must not find each other's mappings."""

_CPU_CLOCK_OF_PROCESS: Final = 2  # CPUCLOCK_SCHED of include/linux/posix-timers.h
_ROW: Final = 16 * MIB  # room left in each member, per file


@dataclass(frozen=True)
class Shape:
    """How a file is striped: *unit* bytes to one member, then the next of *width* members."""

    unit: int
    width: int

    def __str__(self) -> str:
        return f"{self.unit}-{self.width}"


@dataclass(frozen=True)
class Task:
    """What is asked of a file: *phase* is cold (first after a mount) or warm; *request* bytes."""

    phase: str
    pattern: Pattern
    shape: Shape
    request: int

    def __str__(self) -> str:
        unit, asked = format_size(self.shape.unit), format_size(self.request)
        return f"{self.phase} {self.pattern} {asked}, unit {unit}, {self.shape.width} members"


@dataclass(frozen=True)
class Sample:
    """What one strategy did with one task in one round.

    Rates and percentiles are fio's, as an application sees them; the rest is the server's.

    Attributes:
        bandwidth: bytes per second.
        p50_ns: half of the requests took less.
        server_p50_ns: the same as the server measures it, without the way there and back; a power
            of two of cycles, so true within a factor of two.
        cpu_ns_per_gib: CPU time of all the server's threads.
        parked: requests that a lane had to put aside for want of a mapping.
        lookups: mappings and extents looked up in the store.
        records: kept for the file's mappings, growth.
        memory: private memory of the server, bytes, growth.
    """

    strategy: str
    phase: str
    pattern: str
    unit: int
    width: int
    request: int
    round: int
    bandwidth: float
    iops: float
    p50_ns: float
    p99_ns: float
    server_p50_ns: int
    server_p99_ns: int
    bytes: int
    cpu_ns_per_gib: float
    parked: int
    lookups: int
    records: int
    memory: int


@dataclass(frozen=True)
class Server:
    """A mounted volume of one strategy."""

    strategy: str
    mountpoint: Path
    pid: int

    def counters(self) -> dict[str, Any]:
        """Return what ``iomapd stats --json`` prints."""
        return request(self.mountpoint, "stats")

    def cpu_ns(self) -> int:
        """Return the CPU time of all its threads so far, those that have ended too."""
        return time.clock_gettime_ns(~self.pid << 3 | _CPU_CLOCK_OF_PROCESS)

    def memory(self) -> int:
        """Return its private memory, bytes: no pages of files, no members."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(it for it in status.splitlines() if it.startswith("RssAnon:"))
        return int(line.split()[1]) * KIB


class Volumes:
    """A volume per strategy, unmounted, with the same files in each.

    Args:
        place: an existing directory; the volumes go there.
        strategies: values of the mount option ``mapper``.
        shapes: each gets its files.
        size: of each file, bytes.
        nr_members: of each volume.
        lanes: of each mount.
    """

    def __init__(
        self,
        place: Path,
        strategies: Sequence[str],
        shapes: Sequence[Shape],
        *,
        size: int,
        nr_members: int,
        lanes: int,
    ) -> None:
        self._place = place
        self._strategies = strategies
        self._lanes = lanes
        self.size = size
        nr_files = len(shapes) * len(FILES)
        # A width of one lays a whole file on one member: free space decides on which.
        member_size = nr_files * size // nr_members + 2 * max(size, _ROW)
        for strategy in strategies:
            self._create(place / strategy, nr_members, member_size)
            with self._mounted(strategy) as server:
                self._fill(server.mountpoint, shapes)

    @contextmanager
    def mounted(self) -> Iterator[list[Server]]:
        """Mount all of them for the length of the block: nothing is known of any file."""
        with ExitStack() as stack:
            yield [stack.enter_context(self._mounted(strategy)) for strategy in self._strategies]

    def _create(self, place: Path, nr_members: int, member_size: int) -> None:
        (place / "mnt").mkdir(parents=True)
        members = "".join(
            f'\n[[member]]\npath = "m{index}.img"\nsize = {member_size}\n'
            for index in range(nr_members)
        )
        layout = place / "volume.toml"
        layout.write_text(f'[volume]\nname = "strategies"\nunit = "64KiB"\n{members}')
        create_volume(load_layout(layout))

    @contextmanager
    def _mounted(self, strategy: str) -> Iterator[Server]:
        place = self._place / strategy
        source, mountpoint = place / "volume.toml", place / "mnt"
        options: dict[str, str | None] = {"mapper": strategy}
        log = place / "server.log"
        with mounted(source, mountpoint, log=log, options=options, lanes=self._lanes) as report:
            yield Server(strategy, mountpoint, report.pid)

    def _fill(self, mountpoint: Path, shapes: Sequence[Shape]) -> None:
        directories = [mountpoint / str(shape) for shape in shapes]
        for directory, shape in zip(directories, shapes, strict=True):
            directory.mkdir()
            unit = str(shape.unit)
            change_layout(directory, unit=unit, width=shape.width, program=None, params={})
        fill([directory / name for directory in directories for name in FILES], self.size)
        settle(mountpoint)


def run(
    task: Task, point: Point, servers: Sequence[Server], size: int, seconds: float, number: int
) -> Iterator[Sample]:
    """Do *task* on every server, one after the other, as *point* says; *number* is the round."""
    name = FILES[task.phase == "cold" and task.pattern == "randread"]
    before = {server.strategy: _state(server) for server in servers}
    targets = [
        Target(server.strategy, (server.mountpoint / str(task.shape) / name,), size)
        for server in servers
    ]
    rates = measure(point, targets, seconds)
    for server in servers:
        if rate := rates.get(server.strategy):
            yield _sample(task, server, rate, before[server.strategy], number)


@dataclass(frozen=True)
class _State:
    counters: Mapping[str, Any]
    memory: int
    cpu_ns: int


def _state(server: Server) -> _State:
    counters = server.counters()
    # The clock comes last here and first afterwards: asking is not counted.
    return _State(counters, server.memory(), server.cpu_ns())


def _sample(task: Task, server: Server, rate: Rate, before: _State, number: int) -> Sample:
    cpu_ns, memory = server.cpu_ns() - before.cpu_ns, server.memory() - before.memory
    after = server.counters()
    done = difference(after, before.counters)
    lanes, bins = done["lanes"], done["lanes"]["read_latency"]
    moved = sum(member["read_bytes"] for member in done["members"])
    bandwidth = rate.bandwidth
    if task.phase == "cold":
        # Over in a few of the milliseconds that fio counts in; one request after the other.
        bandwidth = task.request * 1e9 / rate.latency_ns
    kept = "places" if server.strategy == "cache" else "cache"
    return Sample(
        strategy=server.strategy,
        phase=task.phase,
        pattern=task.pattern,
        unit=task.shape.unit,
        width=task.shape.width,
        request=task.request,
        round=number,
        bandwidth=bandwidth,
        iops=bandwidth / task.request,
        p50_ns=rate.p50_ns,
        p99_ns=rate.p99_ns,
        server_p50_ns=percentile(bins, 0.5),
        server_p99_ns=percentile(bins, 0.99),
        bytes=moved,
        cpu_ns_per_gib=cpu_ns * GIB / moved if moved else 0.0,
        parked=lanes["parked"],
        lookups=done["slow_path"]["lookups"],
        records=done[kept]["records"],
        memory=memory,
    )
