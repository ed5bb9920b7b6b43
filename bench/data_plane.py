# SPDX-License-Identifier: MIT
"""What do compiled lanes give, beside Python, others, and the memory itself?

Question
    How fast are large and small reads and writes of one file through iomapd with lanes, beside
    the same volume served by Python, a plain file on the tmpfs that all bytes are kept in,
    mergerfs and bindfs, and btrfs raid0 on loop devices as the kernel's own striping?

Sketch
    A CPU copies 8 GB/s from tmpfs. A request of 1 MiB that costs a round trip through /dev/fuse
    (10 to 20 us), sixteen pieces of 64 KiB and one copy gets two thirds of that at queue depth 1;
    with 8 in flight two lanes copy on two CPUs, and may pass one raw file that a single thread
    reads. A write is copied twice: from the application into the lane's buffer, from there to the
    members. Linux sends direct writes that lengthen a file on FUSE one at a time, whatever the
    application has in flight (/sys/fs/fuse/connections/N/waiting never says 2), so new files are
    compared with overwriting at 1 in flight. A small request is the round trip: 100,000 per
    second with four jobs, where Python needs 100 us and more for each.

Baseline
    "raw" in the same round; every goal is a ratio within rounds.

Meaningless if
    something else keeps the CPUs busy: two lanes, fio and the copying share them.  The load
    before and after is written down; beyond 1 before the start, measure again.  What is first
    touched costs more in a virtual machine, so every volume is written full once and the first
    round does not count.  New files of "raw", mergerfs and bindfs take fresh pages all the same.

Run
    make bench            or: .venv/bin/python -m bench.data_plane --rounds 7
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from bench import report
from bench.candidates import KIB, WORDS, side_by_side
from bench.charts import draw_bars
from bench.rounds import Access, Goal, take_turns
from iomapd.errors import IomapdError
from iomapd.geometry.sizes import format_size
from iomapd.tools.admin import request
from iomapd.tools.fio import Point, Target, measure

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

TITLE = "Lanes beside Python, others, and the memory itself"

EVIDENCE_SECONDS = 1.0

READ_1, READ_8 = "read 1 MiB, 1 in flight", "read 1 MiB, 8 in flight"
OVER_1, OVER_8 = "overwrite 1 MiB, 1 in flight", "overwrite 1 MiB, 8 in flight"
NEW_1, NEW_8 = "new file 1 MiB, 1 in flight", "new file 1 MiB, 8 in flight"
RANDREAD, RANDWRITE = "random read 4 KiB, 4 jobs", "random overwrite 4 KiB, 4 jobs"

JOBS = (
    Access(READ_1, Point("read", True, 1)),
    Access(READ_8, Point("read", True, 8)),
    Access(OVER_1, Point("write", True, 1)),
    Access(OVER_8, Point("write", True, 8)),
    Access(NEW_1, Point("write", True, 1, fresh=True), "new"),
    Access(NEW_8, Point("write", True, 8, fresh=True), "new"),
    Access(RANDREAD, Point("randread", True, 1, 4 * KIB, jobs=4), unit="k/s"),
    Access(RANDWRITE, Point("randwrite", True, 1, 4 * KIB, jobs=4), unit="k/s"),
)

GOALS = (
    Goal(READ_8, 1.0, "raw"),
    Goal(READ_8, 3.0, "python"),
    Goal(READ_1, 0.55, "raw"),
    Goal(OVER_1, 0.30, "raw"),
    Goal(OVER_8, 0.40, "raw"),
    Goal(NEW_1, 0.80, "lanes", OVER_1),
    Goal(NEW_8, 0.80, "lanes", OVER_1),
    Goal(RANDREAD, 4.0, "python"),
    Goal(RANDWRITE, 4.0, "python"),
    *(Goal(job.name, 1.0, other) for job in JOBS for other in ("mergerfs", "bindfs")),
)


def main() -> None:
    """Measure and report."""
    arguments = _arguments()
    with (
        report.begun("data_plane", TITLE, arguments) as found,
        side_by_side(arguments.only, arguments.size, arguments.lanes) as candidates,
    ):
        found.results = take_turns(JOBS, candidates, **report.lengths(found))
        found.notes.extend(
            evidence(candidate.directory, arguments.size)
            for candidate in candidates
            if candidate.name == "lanes"
        )
    found.goals = GOALS
    report.finish(found, draw_bars, arguments.results)


def evidence(mountpoint: Path, size: int) -> str:
    """Say how often lanes ask the control plane when a new file is written, and when it is read."""
    new = Target("new", (mountpoint / "new",), size)
    before = _asked(mountpoint)
    measure(Point("write", True, 1, fresh=True), [new], EVIDENCE_SECONDS)
    written = _asked(mountpoint)
    asked = []
    for _ in range(2):
        since = _asked(mountpoint)
        measure(Point("read", True, 8), [new], EVIDENCE_SECONDS)
        asked.append(_asked(mountpoint) - since)
    return (
        f"Lanes asked the control plane {written - before} times while a new file of "
        f"{format_size(size)} was written in 1 MiB requests, {asked[0]} times while it was read, "
        f"{asked[1]} times while it was read again."
    )


def _asked(mountpoint: Path) -> int:
    """Return how many READs and WRITEs lanes parked or forwarded since the mount."""
    counters = request(mountpoint, "stats")["lanes"]
    forwarded = [count for why, count in counters["forwarded"].items() if why != "foreign"]
    return int(counters["parked"]) + sum(forwarded)


def _arguments() -> argparse.Namespace:
    parser = report.parser(TITLE, size="256MiB")
    parser.add_argument("--lanes", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=WORDS, default=list(WORDS))
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except IomapdError as error:
        sys.exit(f"data_plane: {error}")
