# SPDX-License-Identifier: MIT
"""How large must a request be before a file system in user space stops mattering?

Question
    What do requests of 4 KiB to 4 MiB give, through lanes, through Python, through others, and on
    the memory itself?

Sketch
    A request costs its round trip, then its bytes.  The round trip is 10 to 20 us with a lane and
    100 to 200 us with Python; a copy of 1 MiB is 120 us.  So a lane reaches half of what memory
    gives at some 128 KiB, Python at 1 MiB.  The kernel cuts requests into pieces of 1 MiB: beyond
    that, one request is several in flight.

Baseline
    "raw": the same requests on one file of the tmpfs that all bytes are kept in.

Meaningless if
    something else keeps the CPUs busy.

Run
    make bench            or: .venv/bin/python -m bench.request_sweep
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

from bench import report
from bench.candidates import KIB, side_by_side
from bench.charts import draw_lines
from bench.rounds import Access, take_turns
from iomapd.errors import IomapdError
from iomapd.geometry.sizes import format_size
from iomapd.tools.fio import Pattern, Point

if TYPE_CHECKING:
    import argparse

TITLE = "The size of a request"
CANDIDATES = ("raw", "lanes", "python", "mergerfs", "bindfs")
SIZES = tuple(4 * KIB << power for power in range(0, 11, 2))
PANELS: dict[str, tuple[Pattern, int]] = {
    "random read, 1 in flight": ("randread", 1),
    "random read, 8 in flight": ("randread", 8),
    "random overwrite, 1 in flight": ("randwrite", 1),
    "random overwrite, 8 in flight": ("randwrite", 8),
}
JOBS = tuple(
    Access(
        f"{panel}, {format_size(size)}",
        Point(pattern, direct=True, depth=depth, block_size=size),
        panel=panel,
        x=size,
    )
    for panel, (pattern, depth) in PANELS.items()
    for size in SIZES
)


def main() -> None:
    """Measure and report."""
    arguments = _arguments()
    with (
        report.begun("request_sweep", TITLE, arguments) as found,
        side_by_side(CANDIDATES, arguments.size, arguments.lanes) as candidates,
    ):
        found.results = take_turns(JOBS, candidates, **report.lengths(found))
    report.finish(found, partial(draw_lines, x_label="request"), arguments.results)


def _arguments() -> argparse.Namespace:
    parser = report.parser(TITLE, seconds=0.15, size="128MiB")
    parser.add_argument("--lanes", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except IomapdError as error:
        sys.exit(f"request_sweep: {error}")
