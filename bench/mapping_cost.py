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
    formula takes two divisions, shifts where they can be, and as much again goes into checks and
    stores; a program is compiled into the same loop and costs what it computes.  Interpreted,
    every load and store goes through ctypes, 20 to 50 us, and a program is called by pointer.

Baseline
    "lane" is the compiled loop called from compiled code, all requests in a row: what a lane
    pays.  "shift" there is the least that anybody computes: unit and strips are powers of two,
    two shifts and a mask make a piece, nothing is checked.  "call" is the same behind a
    pointer, its answer in memory: what lies between the two is what a program would cost on top
    if it were not compiled into the loop that asks it.
    "record" is the built-in formula,
    "cache" a bisection in the inode's table of places.

Meaningless if
    something else keeps the caches busy (see the spread); time is that of this thread on its
    CPU, so others' turns do not count.  The store is in memory: an upcall to a store on a cold
    disk costs milliseconds.

Run
    make bench            or: .venv/bin/python -m bench.mapping_cost
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
import uuid
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from bench import report
from bench.candidates import KIB, MIB, Candidate
from bench.charts import draw_lines
from bench.mapping_loops import (
    call_requests,
    look_up_requests,
    map_requests,
    shift_behind_pointer,
    shift_requests,
)
from bench.rounds import Goal, Job, Results
from iomapd.abi import PROGRAM_ABI
from iomapd.abi.shipped import shipped_dir
from iomapd.cache.extents import ExtentCache, PlaceCache, Placed
from iomapd.control.hints import HintFollower
from iomapd.control.mappers import CachedMapper, Mapper, StripedMapper, UpcallMapper
from iomapd.control.places import PlaceTable
from iomapd.control.programs import Programs
from iomapd.control.slowpath import SlowPath
from iomapd.dataplane.engine import EncodedExtent, MapEngine, encode
from iomapd.dataplane.request import REQUEST_SIZE, lay_out
from iomapd.errors import IomapdError
from iomapd.geometry.sizes import format_size
from iomapd.geometry.stripes import locate
from iomapd.jit.admission.load import load_program
from iomapd.jit.unit import load_unit
from iomapd.mapping.extent import Extent, Strip
from iomapd.meta.records import LayoutRecord, MemberRecord, ProgramRecord, VolumeRecord
from iomapd.meta.store import Store, create_store
from iomapd.native.region import Region
from iomapd.volume.program_source import read_program

if TYPE_CHECKING:
    import argparse

TITLE = "The cost of a mapping"
Work = Callable[[], int]
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
LANES = ("shift", "call", "record", "program", "cache")


def name_of(form: str, unit: int) -> str:
    """Return the name of a job."""
    return f"{form}, unit {format_size(unit)}"


JOBS = tuple(
    Job(name_of(form, unit), unit="ns", panel=form, x=unit)
    for form in (*FORMS, "lane")
    for unit in UNITS
)
GOALS = tuple(
    Goal(name_of("lane", unit), factor, of, candidate=candidate, at_most=True)
    for candidate, factor, of in (("program", 5.0, "shift"), ("cache", 10.0, "program"))
    for unit in (4 * KIB, 64 * KIB)
)


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

    def encode(
        self, extent: Extent, *, by_formula: bool = False, interpreted: bool = False
    ) -> EncodedExtent:
        """Lay *extent* out with the program's code, or the built-in formula."""
        if by_formula:
            return encode(extent, (), name=self.name)
        # A walk is compiled code whoever calls it.
        walk = 0 if interpreted else self.code.walk_address
        return encode(extent, (), self.code.address, self.name, walk)

    def mapper(self, strategy: str, form: str) -> Mapper:
        """Return the mapper of a mount with ``mapper=STRATEGY``, its caches empty."""
        by_formula = strategy == "record"
        interpreted = form == "interpreted"
        engine = MapEngine(interpreted=interpreted)
        slow = SlowPath(
            ExtentCache(),
            self.store.space,
            self.data_size_of,
            lambda extent: self.encode(extent, by_formula=by_formula, interpreted=interpreted),
        )
        upcalls = UpcallMapper(slow, engine, self.data_size_of)
        if strategy == "upcall":
            return upcalls
        if strategy == "cache":
            places, programs = PlaceCache(), Programs(self.store, built_in=False)
            hints = HintFollower(programs, engine, places, lambda _: None)
            return CachedMapper(upcalls, places, hints)
        return StripedMapper(slow, engine)


def main() -> None:
    """Measure and report."""
    arguments = _arguments()
    names = dict.fromkeys((*STRATEGIES, *LANES))
    with (
        report.begun("mapping_cost", TITLE, arguments, load_max=99) as found,
        _volume(arguments.program) as volume,
    ):
        results = Results(
            {job.name: job for job in JOBS if job.x in UNITS}, {n: Candidate(n, n) for n in names}
        )
        for form, unit in product((*FORMS, "lane"), UNITS):
            found.progress(name_of(form, unit), 0, 0)
            work = lane_work(volume, unit) if form == "lane" else mapper_work(volume, form, unit)
            _measure(work, form, unit, results, arguments)
    found.results, found.goals = results, GOALS
    asked = f"{NR_STRIPS} strips, requests of {format_size(REQUEST)}, program {arguments.program}"
    found.notes.append(f"ns per mapping, time of one thread on its CPU; {asked}.")
    report.finish(found, partial(draw_lines, x_label="stripe unit"), arguments.results)


def mapper_work(volume: Volume, form: str, unit: int) -> dict[str, Work]:
    """Return, per strategy, all requests once through the mapper that a mount uses."""
    return {
        strategy: _through(volume.mapper(strategy, form), INO + unit) for strategy in STRATEGIES
    }


def _through(mapper: Mapper, ino: int) -> Work:
    """Return work: all requests once, through *mapper*; it returns the number of mappings."""

    def work() -> int:
        return sum(1 for pos in REQUESTS for _ in mapper.pieces(ino, pos, pos + REQUEST))

    return work


def lane_work(volume: Volume, unit: int) -> dict[str, Work]:
    """Return, per strategy, all requests many times over in compiled code, as a lane does them."""
    unit_of_code = load_unit("mapping-cost", [
        map_requests, look_up_requests, shift_requests, call_requests, shift_behind_pointer,
    ])  # fmt: skip
    run = unit_of_code.function
    request = Region(REQUEST_SIZE)
    lay_out(request.addr, 0, 0)
    positions = array("q", REQUESTS * LANE_ROUNDS)
    extent = volume.extent(unit)
    asked = (*positions.buffer_info(), REQUEST, request.addr)
    keep = [request, positions]  # addresses are good only as long as what lies there

    def work(function: Callable[..., int], where: int, *alive: object) -> Work:
        return lambda _kept=(keep, alive): function(where, *asked)

    places = PlaceTable(list(_places(extent)))
    by_formula, by_program = volume.encode(extent, by_formula=True), volume.encode(extent)
    # Log2 of unit and strips; the pointer; room for a question and its answer.
    behind = unit_of_code.address("shift_behind_pointer")
    powers = (unit.bit_length() - 1, NR_STRIPS.bit_length() - 1)
    shape = array("q", (*powers, behind, 0, 0, 0, 0))
    return {
        "shift": work(run("shift_requests"), shape.buffer_info()[0], shape),
        "call": work(run("call_requests"), shape.buffer_info()[0], shape),
        "record": work(run("map_requests"), by_formula.addr, by_formula),
        "program": work(run("map_requests"), by_program.addr, by_program),
        "cache": work(run("look_up_requests"), places.addr, places),
    }


def _places(extent: Extent) -> Iterator[Placed]:
    """Yield the member-level records of an extent striped by the raid0 formula."""
    for pos in range(0, extent.end, extent.unit):
        strip, addr, run = locate(pos, extent.unit, NR_STRIPS)
        yield Placed(pos, pos + run, extent.strips[strip].member, addr)


def _measure(
    work: dict[str, Work], form: str, unit: int, results: Results, arguments: argparse.Namespace
) -> None:
    """Take turns: a round of each strategy, then the next round."""
    expected = len(REQUESTS) * max(1, REQUEST // unit) * (LANE_ROUNDS if form == "lane" else 1)
    for strategy, run in work.items():
        # Warms the caches, and checks that the work is what is claimed.
        got = run()
        assert got == expected, f"{strategy}: {got} mappings, not {expected}"
    for _ in range(arguments.rounds):
        for strategy, run in work.items():
            cost = _ns_per_mapping(run, arguments.seconds)
            results.figures[name_of(form, unit), strategy].append(cost)


def _ns_per_mapping(run: Work, seconds: float) -> float:
    nr_mappings = 0
    # The time of this thread alone: nothing here waits, and others' turns do not count.
    start = time.thread_time_ns()
    while True:
        nr_mappings += run()
        now = time.thread_time_ns()
        if now >= start + seconds * 1e9:
            break
    return (now - start) / nr_mappings


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
    parser = report.parser(TITLE, seconds=0.03)
    parser.add_argument("--program", default="raid0", help="a shipped program without parameters")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except IomapdError as error:
        sys.exit(f"mapping_cost: {error}")
