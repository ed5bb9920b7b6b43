# SPDX-License-Identifier: MIT
"""What does it cost that write(2) comes to the server, and what does a page cache give?

Question
    How fast are plain reads and writes - no O_DIRECT - of large and small files in the three
    caching modes, until the bytes are with the server (close) or durable (fsync)?

Sketch
    A write of 4 KiB costs a round trip of 10 to 20 us where it goes through to a lane, and a
    microsecond where the kernel gathers 256 of them.  A write of 1 MiB is one request in each
    mode; a writeback cache copies it once more, and its pages are touched anew.  Reading again
    is memory where there is a page cache, and a round trip where there is none.  Small files
    are names: create, open and close go through Python in each mode.

Baseline
    ``through``, the default, in the same round.

Meaningless if
    something else keeps the CPUs busy.  A virtual machine pays for pages that are touched first,
    and a page cache is such pages; that is what a page cache costs there.

Run
    make bench BENCH=caching      or: .venv/bin/python -m bench.caching --rounds 7
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench import report
from bench.candidates import KIB, MIB, Candidate, settle, volume, workplace
from bench.charts import draw_bars
from bench.rounds import GIB, Job, Results
from iomapd.errors import IomapdError
from iomapd.fuse.caching import MODES

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

TITLE = "The caching modes"

_SMALL: Final = 16 * KIB
_NR_SMALL: Final = 200


def write(directory: Path, size: int, *, by: int, durable: bool = False) -> float:
    """Write a file that was there before from start to end and close it; GiB/s."""
    data = bytes(by)
    started = time.perf_counter()
    fd = os.open(directory / "file", os.O_WRONLY | os.O_CREAT)
    for _ in range(size // by):
        os.write(fd, data)
    if durable:
        os.fsync(fd)
    os.close(fd)
    return size / GIB / (time.perf_counter() - started)


def read(directory: Path, size: int, *, by: int, cached: bool) -> float:
    """Read it from start to end; GiB/s."""
    fd = os.open(directory / "file", os.O_RDONLY)
    try:
        if cached:
            os.pread(fd, size, 0)
        else:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        buffer = bytearray(by)
        started = time.perf_counter()
        for _ in range(size // by):
            os.readv(fd, [buffer])
        return size / GIB / (time.perf_counter() - started)
    finally:
        os.close(fd)


def small_files(directory: Path, _: int) -> float:
    """Make files of 16 KiB, written by the KiB; k/s of files."""
    paths = [directory / f"small{number}" for number in range(_NR_SMALL)]
    data = bytes(KIB)
    started = time.perf_counter()
    for path in paths:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT)
        for _ in range(_SMALL // KIB):
            os.write(fd, data)
        os.close(fd)
    taken = time.perf_counter() - started
    for path in paths:
        path.unlink()
    return _NR_SMALL / taken / 1000


MEASURES: Final[dict[Job, Callable[[Path, int], float]]] = {
    Job("write by 4 KiB, close"): partial(write, by=4 * KIB),
    Job("write by 1 MiB, close"): partial(write, by=MIB),
    Job("write by 1 MiB, fsync"): partial(write, by=MIB, durable=True),
    Job("read by 64 KiB, once"): partial(read, by=64 * KIB, cached=False),
    Job("read by 1 MiB, once"): partial(read, by=MIB, cached=False),
    Job("read by 64 KiB, again"): partial(read, by=64 * KIB, cached=True),
    Job("small files written by 1 KiB", unit="k/s"): small_files,
}


def main() -> None:
    """Measure and report."""
    parser = report.parser(TITLE, size="64MiB")
    arguments = parser.parse_args()
    with (
        report.begun("caching", TITLE, arguments) as found,
        workplace("caching") as place,
        ExitStack() as stack,
    ):
        modes = []
        for mode in MODES:
            made = volume(place / mode, member_size=arguments.size, options={"cache": mode})
            modes.append(Candidate(mode, f"cache={mode}", stack.enter_context(made)))
        found.results = take_turns(modes, found, arguments)
    report.finish(found, draw_bars, arguments.results)


def take_turns(
    modes: list[Candidate], found: report.Found, arguments: argparse.Namespace
) -> Results:
    """Measure everything in each mode, round by round; the first does not count."""
    results = Results({job.name: job for job in MEASURES}, {mode.name: mode for mode in modes})
    steps = (arguments.rounds + 1) * len(MEASURES)
    for number in range(arguments.rounds + 1):
        for place, (job, measured) in enumerate(MEASURES.items()):
            found.progress(f"round {number}: {job.name}", number * len(MEASURES) + place, steps)
            turn = number % len(modes)
            for mode in (*modes[turn:], *modes[:turn]):
                figure = measured(mode.directory, arguments.size)
                settle(mode.directory)
                if number:
                    results.figures[job.name, mode.name].append(figure)
    return results


if __name__ == "__main__":
    try:
        main()
    except IomapdError as error:
        sys.exit(f"caching: {error}")
