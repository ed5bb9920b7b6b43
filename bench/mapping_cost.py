# SPDX-License-Identifier: MIT
"""What it costs to say where bytes are.

Question
    How many nanoseconds does one mapping cost under each of the four strategies, with the
    loop that finds, asks and checks interpreted and compiled, for units of 4 KiB to 4 MiB?

Sketch
    A request is 1 MiB at a random place of a file of 16 MiB on four strips; a unit of 4 KiB
    makes that 256 mappings, one of 1 MiB or more a single one, so the cost of a request is
    spread thinner the smaller the unit.  An upcall is a query to the store and a dozen Python
    objects, some tens of us.  A kept mapping costs a bisection in Python, a few us.  The
    formula takes two divisions of 64-bit numbers, 5 to 10 ns each, and as much again goes into
    checks and stores; a program adds a call by pointer.  Interpreted, every load and store
    goes through ctypes: 20 to 50 us.

Baseline
    "lane" is the compiled loop called from compiled code, all requests in a row: what a lane
    pays.  "record" there is the plain formula, the least there is to compute.

Meaningless if
    something else keeps the CPUs busy (see the spread).  The store is in memory: an upcall
    to a store on a cold disk costs milliseconds.

Run
    .venv/bin/python bench/mapping_cost.py [--chart cost.png] [--json cost.json]
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
import uuid
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from iomapd.abi import PROGRAM_ABI
from iomapd.abi.program import CTX_SIZE
from iomapd.abi.shipped import shipped_dir
from iomapd.cache.extents import ExtentCache, PlaceCache
from iomapd.cli.console import table
from iomapd.control.mappers import CachedMapper, Mapper, StripedMapper, UpcallMapper
from iomapd.control.slowpath import SlowPath
from iomapd.dataplane.engine import ROOM, MapEngine, encode
from iomapd.dataplane.find import PIECE_SIZE, map_range
from iomapd.errors import IomapdError
from iomapd.geometry.sizes import format_size
from iomapd.jit.admission.load import load_program
from iomapd.jit.unit import load_unit
from iomapd.mapping.extent import Extent, Strip
from iomapd.meta.records import LayoutRecord, MemberRecord, ProgramRecord, VolumeRecord
from iomapd.meta.store import Store, create_store
from iomapd.native.memory import load64
from iomapd.native.region import Region
from iomapd.tools import machine
from iomapd.volume.program_source import read_program

KIB, MIB = 1 << 10, 1 << 20
UNITS = tuple(4 * KIB << power for power in range(0, 11, 2))
REQUEST = MIB
FILE_SIZE = 16 * MIB
NR_STRIPS = 4
INO = 77
LANE_ROUNDS = 64
"""How often a lane's call goes through all requests, so that the call itself costs nothing."""
REQUESTS = list(range(0, FILE_SIZE, REQUEST))
random.Random(20260101).shuffle(REQUESTS)  # the same order in every run

STRATEGIES = ("upcall", "cache", "record", "program")
FORMS = ("interpreted", "compiled")
LANES = ("record", "program")


@dataclass(frozen=True)
class Cost:
    """Nanoseconds per mapping of one strategy, one form, one unit; a figure per round."""

    strategy: str
    form: str
    unit: int
    rounds: tuple[float, ...]

    @property
    def ns(self) -> float:
        """The median."""
        return median(self.rounds)

    @property
    def spread(self) -> float:
        """Half of what lies between the best and the worst round, as a share of the median."""
        return (max(self.rounds) - min(self.rounds)) / 2 / self.ns


class Volume:
    """A store with one striped file, and the program that maps it."""

    def __init__(self, place: Path, name: str) -> None:
        source = read_program(name, Path(), shipped_dir("programs"))
        self.code = load_program(source.name, source.text, str(source.path))
        self.name = name
        row = ProgramRecord(1, source.name, PROGRAM_ABI, source.sha256, source.text)
        members = [
            MemberRecord(index + 1, index, uuid.uuid4(), f"m{index}", MIB, FILE_SIZE)
            for index in range(NR_STRIPS)
        ]
        layouts = [LayoutRecord(n, unit, 0, MIB, MIB, 1) for n, unit in enumerate(UNITS, 1)]
        volume = VolumeRecord(uuid.uuid4(), "cost", time.time_ns())
        path = place / "cost.db"
        create_store(path, volume, members, row, layouts[0], (0, 0))
        self.store = Store.open(path)
        with self.store.transaction():
            self.layouts = {layout.unit: self.store.layout_id(layout) for layout in layouts}
            self.store.space.put_extents(map(self.extent, UNITS))
        self.data_size_of = {member.id: member.data_size for member in members}

    def extent(self, unit: int) -> Extent:
        """Return the extent of the file whose layout has *unit*."""
        strip = FILE_SIZE // NR_STRIPS
        strips = tuple(Strip(index + 1, 0) for index in range(NR_STRIPS))
        ino = INO + unit
        return Extent(ino, 0, FILE_SIZE, self.layouts[unit], unit, ino, strip, strip, strips)

    def mapper(self, strategy: str, form: str) -> Mapper:
        """Return the mapper of a mount with ``mapper=STRATEGY``, its caches empty."""
        address = 0 if strategy == "record" else self.code.address
        engine = MapEngine(interpreted=form == "interpreted")
        slow = SlowPath(
            ExtentCache(),
            self.store.space,
            self.data_size_of,
            lambda extent: encode(extent, (), address, self.name),
        )
        upcalls = UpcallMapper(slow, engine, self.data_size_of)
        if strategy == "upcall":
            return upcalls
        if strategy == "cache":
            return CachedMapper(upcalls, PlaceCache())
        return StripedMapper(slow, engine)


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    with _volume(arguments.program) as volume:
        costs = [*measure_mappers(volume, arguments), *measure_lanes(volume, arguments)]
    report(costs, arguments)


def measure_mappers(volume: Volume, arguments: argparse.Namespace) -> Iterator[Cost]:
    """Measure requests through the mappers that a mount uses."""
    for unit in UNITS:
        for form in FORMS:
            work = {
                strategy: _through(volume.mapper(strategy, form), INO + unit)
                for strategy in STRATEGIES
            }
            yield from _measure(work, form, unit, arguments)


def _through(mapper: Mapper, ino: int) -> Callable[[], int]:
    """Return work: all requests once, through *mapper*; it returns the number of mappings."""

    def work() -> int:
        return sum(1 for pos in REQUESTS for _ in mapper.pieces(ino, pos, pos + REQUEST))

    return work


def measure_lanes(volume: Volume, arguments: argparse.Namespace) -> Iterator[Cost]:
    """Measure the loop of a compiled lane."""
    run = load_unit("mapping-cost", [map_requests]).function("map_requests")
    ctx, out = Region(CTX_SIZE), Region(ROOM * PIECE_SIZE)
    requests = array("q", REQUESTS * LANE_ROUNDS)
    start, count = requests.buffer_info()
    for unit in UNITS:
        work = {}
        for strategy in LANES:
            address = volume.code.address if strategy == "program" else 0
            words = encode(volume.extent(unit), (), address, volume.name)
            given = (words.addr, start, count, REQUEST, ctx.addr, out.addr, ROOM)
            # The words come along: their address is good only as long as they live.
            work[strategy] = lambda given=given, words=words: run(*given)
        yield from _measure(work, "lane", unit, arguments)


def map_requests(
    extent: int, requests: int, count: int, length: int, ctx: int, out: int, room: int
) -> int:
    """Map *count* requests, one position after another; compiled, this is a lane's loop.

    Args:
        extent: address of the extent's words.
        requests: address of the positions, 64-bit words.
        count: how many.
        length: of each, bytes.
        ctx: address of a scratch record.
        out: address of room for pieces.
        room: how many fit there.

    Returns:
        The number of mappings.
    """
    mappings = 0
    for index in range(count):
        pos = load64(requests + 8 * index)
        mappings += map_range(extent, pos, pos + length, ctx, out, room)
    return mappings


def _measure(
    work: dict[str, Callable[[], int]], form: str, unit: int, arguments: argparse.Namespace
) -> Iterator[Cost]:
    """Take turns: a round of each strategy, then the next round."""
    found: dict[str, list[float]] = {strategy: [] for strategy in work}
    expected = len(REQUESTS) * max(1, REQUEST // unit) * (LANE_ROUNDS if form == "lane" else 1)
    for strategy, run in work.items():
        # Warms the caches, and checks that the work is what is claimed.
        got = run()
        assert got == expected, f"{strategy}: {got} mappings, not {expected}"
    for _ in range(arguments.rounds):
        for strategy, run in work.items():
            found[strategy].append(_ns_per_mapping(run, arguments.seconds))
    for strategy, rounds in found.items():
        yield Cost(strategy, form, unit, tuple(rounds))


def _ns_per_mapping(run: Callable[[], int], seconds: float) -> float:
    nr_mappings = 0
    start = time.perf_counter_ns()
    while True:
        nr_mappings += run()
        now = time.perf_counter_ns()
        if now >= start + seconds * 1e9:
            break
    return (now - start) / nr_mappings


def report(costs: list[Cost], arguments: argparse.Namespace) -> None:
    """Print the table; write JSON and chart if they are asked for."""
    about = machine.describe()
    print(
        f"{about['cpus']} x {about['cpu']}, Linux {about['kernel']}, iomapd {about['iomapd']}; "
        f"{NR_STRIPS} strips, requests of {format_size(REQUEST)}, program {arguments.program}; "
        f"ns per mapping, medians of {arguments.rounds} rounds, "
        f"spread ±{max(cost.spread for cost in costs):.0%} at worst\n"
    )
    by_key = {(cost.form, cost.strategy, cost.unit): cost for cost in costs}
    for form in (*FORMS, "lane"):
        wanted = LANES if form == "lane" else STRATEGIES
        rows = [
            (format_size(unit), *(_number(by_key[form, s, unit].ns) for s in wanted))
            for unit in UNITS
        ]
        print(table((form.upper(), *wanted), rows) + "\n")
    if arguments.json:
        body = {"schema": "iomapd.mapping_cost", "version": 1, "machine": about}
        body["program"] = arguments.program
        body["costs"] = [vars(cost) | {"ns": cost.ns} for cost in costs]
        arguments.json.write_text(json.dumps(body, indent=2) + "\n")
    if arguments.chart:
        draw_chart(costs, arguments.chart)


def draw_chart(costs: list[Cost], path: Path) -> None:
    """Draw ns per mapping over the unit, a line per strategy and form."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    colours = dict(zip(STRATEGIES, ("#d55e00", "#cc79a7", "#0072b2", "#009e73"), strict=True))
    styles = {"interpreted": (":", "^"), "compiled": ("--", "o"), "lane": ("-", "s")}
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for form, (line, mark) in styles.items():
        for strategy in STRATEGIES:
            points = [(c.unit, c.ns) for c in costs if (c.form, c.strategy) == (form, strategy)]
            if points:
                label = f"{strategy}, {form}"
                axes.plot(
                    *zip(*points, strict=True), line, marker=mark, markersize=5,
                    color=colours[strategy], label=label,
                )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(UNITS, [format_size(unit) for unit in UNITS])
    axes.set_xlabel("unit")
    axes.set_ylabel("ns per mapping")
    axes.set_title(f"Requests of {format_size(REQUEST)}, {NR_STRIPS} strips", fontsize=10)
    axes.grid(visible=True, which="major", alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    figure.savefig(path, dpi=150)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 20 else f"{value:.1f}"


@contextmanager
def _volume(program: str) -> Iterator[Volume]:
    place = Path(tempfile.mkdtemp(prefix="iomapd-cost-", dir="/dev/shm"))
    try:
        volume = Volume(place, program)
        yield volume
        volume.store.close()
    finally:
        shutil.rmtree(place)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="ns per mapping, four strategies, two forms.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.05, help="length of a measurement")
    parser.add_argument("--program", default="raid0", help="a shipped program without parameters")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--chart", type=Path, help="draw them into this PNG file")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except IomapdError as error:
        sys.exit(f"mapping_cost: {error}")
