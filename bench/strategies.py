# SPDX-License-Identifier: MIT
"""Four ways to say where bytes are, side by side: upcall, cache, striped record, program.

Question
    What do the four strategies give and cost, for stripe units of 4 KiB to 4 MiB, requests of
    4 KiB to 1 MiB, 1 to 16 members, sequential and random, before and after mappings are known?
    And what would one mapping cost as BPF in the kernel?

Sketch
    All four move data in the same compiled lanes; what differs is who is asked for a mapping.  An
    upcall parks the request, wakes Python, queries the store and comes back: some 100 us each,
    and a request of 1 MiB at 4 KiB units needs 256.  A kept mapping is found by bisection, 14
    steps for 16384 records, 50 to 100 ns; the first time it is an upcall's work, one trip per
    request.  Formula and program take 10 to 20 ns and know a file as soon as they know its
    extent.  So cache, record and program differ little once all is known - copying 4 KiB costs
    500 ns - and much before; and a cache holds 32 bytes per unit of the file.

Baseline
    "record", the built-in formula, in the same round.

Meaningless if
    something else keeps the CPUs busy.  Members are in memory: an upcall's 100 us would hide behind
    a disk's 10 ms, and stand out more behind a faster path than /dev/fuse.

Grid
    Not the whole product, which would take hours, but: units x requests, sequential and random,
    warm, 4 members; units, cold, 1 MiB sequential and 4 KiB random, 4 members; members, warm,
    1 MiB sequential, the units 4 KiB and 64 KiB.  Sequential reads have 8 requests in flight
    (throughput), random ones 1 (latency).  Reads only: mappings of written blocks are the same for
    writes, and bench/unit_sweep.py has those.

Run
    make bench BENCH=strategies       or: .venv/bin/python -m bench.strategies
    .venv/bin/python -m bench.strategies --redraw     page and charts from the JSON there is
    .venv/bin/python -m bench.strategies --quick      does it run? half a minute, no results
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from itertools import product
from mmap import mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import report, strategy_charts, strategy_page
from bench.candidates import KIB, MIB, workplace
from bench.strategy_costs import costs
from bench.strategy_runs import FILES, Sample, Server, Shape, Task, Volumes, run
from iomapd.errors import IomapdError
from iomapd.tools.fio import Pattern, Point

if TYPE_CHECKING:
    import argparse

TITLE = "Four ways to say where bytes are"
NAME = "strategies"
STRATEGIES = ("upcall", "cache", "record", "program")
PATTERNS: tuple[Pattern, ...] = ("read", "randread")
DEPTH: dict[Pattern, int] = {"read": 8, "randread": 1}
PAGE = Path(__file__).parent.parent / "docs" / "comparison.md"


@dataclass(frozen=True)
class Grid:
    """What is measured; see the head of this file."""

    units: tuple[int, ...] = tuple(4 * KIB << power for power in range(0, 11, 2))
    requests: tuple[int, ...] = tuple(4 * KIB << power for power in range(0, 9, 2))
    widths: tuple[int, ...] = (1, 2, 4, 8, 16)
    width: int = 4
    width_units: tuple[int, ...] = (4 * KIB, 64 * KIB)
    cold_requests: int = 1000  # at random, of 4 KiB

    def shapes(self) -> list[Shape]:
        """Return the shapes of files that the tasks need."""
        return list(dict.fromkeys(task.shape for task in (*self.cold(), *self.warm())))

    def cold(self) -> Iterator[Task]:
        """Yield what comes first after a mount."""
        for pattern, request in zip(PATTERNS, (max(self.requests), 4 * KIB), strict=True):
            for unit in self.units:
                yield Task("cold", pattern, Shape(unit, self.width), request)

    def warm(self) -> Iterator[Task]:
        """Yield what is done when every mapping has been asked for before."""
        for request, pattern, unit in product(self.requests, PATTERNS, self.units):
            yield Task("warm", pattern, Shape(unit, self.width), request)
        for unit, width in product(self.width_units, self.widths):
            if width != self.width or unit not in self.units:
                yield Task("warm", "read", Shape(unit, width), max(self.requests))

    def point(self, task: Task, size: int) -> Point:
        """Return what fio is told of *task* on a file of *size* bytes."""
        point = Point(task.pattern, True, DEPTH[task.pattern], task.request)
        if task.phase == "warm":
            return point
        whole = size // task.request
        wanted = whole if task.pattern == "read" else min(self.cold_requests, whole)
        return replace(point, depth=1, requests=wanted)


QUICK = Grid((4 * KIB, MIB), (4 * KIB, MIB), (1, 4), width_units=(4 * KIB,), cold_requests=50)


def main() -> None:
    """Measure and report."""
    arguments = _arguments()
    if arguments.redraw:
        body = json.loads((arguments.results / f"{NAME}.json").read_text())
    else:
        body = _measured(arguments)
        arguments.results.mkdir(parents=True, exist_ok=True)
        (arguments.results / f"{NAME}.json").write_text(_compact(body))
    _write(body, arguments.results, arguments.page)


def _measured(arguments: argparse.Namespace) -> dict[str, Any]:
    grid = QUICK if arguments.quick else Grid()
    rounds, seconds = arguments.rounds, arguments.seconds
    with report.begun(NAME, TITLE, arguments) as found, workplace(NAME) as place:
        found.progress("writing files", 0, 0)
        volumes = Volumes(
            place,
            STRATEGIES,
            grid.shapes(),
            size=arguments.size,
            nr_members=max(grid.widths),
            lanes=arguments.lanes,
        )
        samples: list[Sample] = []
        for number in range(rounds):
            with volumes.mounted() as servers:
                samples += _round(found, grid, volumes, _turned(servers, number), number)
        found.progress("ns per mapping", 0, 0)
        mapping = costs(place, grid.units, rounds, min(seconds, 0.03))
    settings = {**vars(arguments), "results": None, "page": None}
    return {
        "schema": f"iomapd.bench.{NAME}",
        "version": 1,
        "date": date.today().isoformat(),
        "machine": found.machine,
        "on": found.on,
        "load": found.load,
        "busy": found.is_busy,
        "settings": settings,
        "grid": asdict(grid),
        "samples": [asdict(sample) for sample in samples],
        "mapping": mapping,
    }


def _round(
    found: report.Found, grid: Grid, volumes: Volumes, servers: Sequence[Server], number: int
) -> Iterator[Sample]:
    """Do everything once on freshly mounted volumes."""
    size, seconds, rounds = volumes.size, found.settings["seconds"], found.settings["rounds"]
    cold, warm = list(grid.cold()), list(grid.warm())
    steps = len(cold) + len(warm)
    for step, task in enumerate((*cold, *warm)):
        found.progress(f"round {number + 1}: {task}", number * steps + step, rounds * steps)
        if step == len(cold):
            _read_all(servers, grid.shapes())
        # Cold tasks end by themselves; the bound is for a machine that crawls.
        limit = 60.0 if task.phase == "cold" else seconds
        yield from run(task, grid.point(task, size), servers, size, limit, number)


def _read_all(servers: Sequence[Server], shapes: Sequence[Shape]) -> None:
    """Let every mapping be asked for once, in requests of 1 MiB."""
    for server, shape in product(servers, shapes):
        path = server.mountpoint / str(shape) / FILES[0]
        handle = os.open(path, os.O_RDONLY | os.O_DIRECT)
        with mmap(-1, MIB) as buffer:
            pos = 0
            while count := os.preadv(handle, [buffer], pos):
                pos += count
        os.close(handle)


def _turned(servers: list[Server], number: int) -> list[Server]:
    turn = number % len(servers)
    return servers[turn:] + servers[:turn]


def _write(body: dict[str, Any], directory: Path, page: Path | None) -> None:
    strategy_charts.draw(body, directory)
    section = strategy_page.section(body)
    if page is not None:
        strategy_page.update(page, section)
    print(section)


def _compact(body: dict[str, Any]) -> str:
    """Return JSON with a line per sample: a thousand of them are compared line by line."""
    lists = {name: body[name] for name in ("samples", "mapping")}
    head = json.dumps({k: v for k, v in body.items() if k not in lists}, indent=1)
    parts = [
        f'"{name}": [\n' + ",\n".join(json.dumps(line) for line in lines) + "\n]"
        for name, lines in lists.items()
    ]
    return head.removesuffix("\n}") + ",\n" + ",\n".join(parts) + "\n}\n"


def _arguments() -> argparse.Namespace:
    parser = report.parser(TITLE, rounds=3, seconds=0.15, size="32MiB")
    parser.add_argument("--lanes", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="a few tasks; figures mean nothing")
    parser.add_argument("--redraw", action="store_true", help="measure nothing, use what is there")
    parser.add_argument("--page", type=Path, help="default docs/comparison.md; none with --results")
    parser.set_defaults(results=None)
    given = parser.parse_args()
    if given.quick:
        given.rounds, given.seconds, given.size = 1, 0.02, 4 * MIB
        given.results = given.results or Path(tempfile.mkdtemp(prefix="iomapd-quick-"))
    elif given.results is None:
        given.page = given.page or PAGE
    given.results = given.results or report.RESULTS / NAME
    return given


if __name__ == "__main__":
    try:
        main()
    except IomapdError as error:
        sys.exit(f"strategies: {error}")
