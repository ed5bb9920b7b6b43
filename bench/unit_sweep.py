# SPDX-License-Identifier: MIT
"""What does the stripe unit cost under each of the four strategies?

Question
    How fast are large reads and writes when consecutive 4 KiB, ..., 4 MiB go to one member, with
    mappings from the program, the built-in formula, a table of places, and upcalls?

Sketch
    A request of 1 MiB is 256 pieces at 4 KiB and one piece from 1 MiB on.  In a lane a piece
    costs its mapping (tens of ns) and its place in an iovec (as much again), 256 of them 20 us
    beside 120 us of copying: half the rate is lost at worst.  An upcall costs a trip to Python
    for each piece, 50 to 100 us: 256 of them 20 ms, 50 MB/s; at 1 MiB it is one.

Baseline
    "record", the built-in formula: the least that there is to compute.

Meaningless if
    something else keeps the CPUs busy.

Run
    make bench            or: .venv/bin/python -m bench.unit_sweep
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from bench import candidates as made
from bench import report
from bench.candidates import KIB, Candidate
from bench.charts import draw_lines
from bench.rounds import Access, Goal, take_turns
from iomapd.errors import IomapdError
from iomapd.geometry.sizes import format_size
from iomapd.tools.fio import Point
from iomapd.tools.layout import change_layout

if TYPE_CHECKING:
    import argparse

TITLE = "The stripe unit under the four strategies"
STRATEGIES = ("program", "record", "cache", "upcall")
UNITS = tuple(4 * KIB << power for power in range(0, 11, 2))
PANELS = {
    "read 1 MiB, 8 in flight": Point("read", True, 8),
    "overwrite 1 MiB, 8 in flight": Point("write", True, 8),
}


def name_of(panel: str, unit: int) -> str:
    """Return the name of a job."""
    return f"{panel}, unit {format_size(unit)}"


JOBS = tuple(
    Access(name_of(panel, unit), point, f"{unit}/file", panel=panel, x=unit)
    for panel, point in PANELS.items()
    for unit in UNITS
)
_READ = next(iter(PANELS))
_SMALL = name_of(_READ, 4 * KIB)
GOALS = (
    Goal(_SMALL, 0.5, "program", name_of(_READ, 64 * KIB), candidate="program"),
    Goal(_SMALL, 20.0, "upcall", candidate="program"),
)


def main() -> None:
    """Measure and report."""
    arguments = _arguments()
    with (
        report.begun("unit_sweep", TITLE, arguments) as found,
        _candidates(arguments) as candidates,
    ):
        found.results = take_turns(JOBS, candidates, **report.lengths(found))
    found.goals = GOALS
    report.finish(found, partial(draw_lines, x_label="stripe unit"), arguments.results)


@contextmanager
def _candidates(arguments: argparse.Namespace) -> Iterator[list[Candidate]]:
    """Mount a volume per strategy, with a directory per unit in each."""
    # A file per unit, and a bit of air.
    member_size = arguments.size * (len(UNITS) + 2) // made.NR_MEMBERS
    with made.workplace("units") as place, ExitStack() as stack:
        candidates = []
        for strategy in STRATEGIES:
            volume = made.volume(
                place / strategy,
                member_size=member_size,
                lanes=arguments.lanes,
                options={"mapper": strategy},
            )
            directory = stack.enter_context(volume)
            for unit in UNITS:
                (directory / str(unit)).mkdir()
                change_layout(
                    directory / str(unit), unit=str(unit), width=None, program=None, params={}
                )
            candidates.append(Candidate(strategy, strategy, directory))
        yield candidates


def _arguments() -> argparse.Namespace:
    parser = report.parser(TITLE, seconds=0.2, size="64MiB")
    parser.add_argument("--lanes", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except IomapdError as error:
        sys.exit(f"unit_sweep: {error}")
