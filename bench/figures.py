# SPDX-License-Identifier: MIT
"""The figures that releases are compared by.

Question
    How fast are large and small reads and writes, how many files can be made,
    looked at and removed per second, how long does a listing take, and how long
    a mount of a volume with many files?

Sketch
    Four members in memory (tmpfs), 64 KiB unit: no device is waited for, so every
    figure is the cost of software and of copying.  With 2 CPUs a copy from tmpfs
    runs at 8 GB/s; a 1 MiB request that costs a round trip to Python (about 100 us)
    and one copy cannot pass 4 GB/s at queue depth 1.  A create is four round trips
    (LOOKUP, CREATE, FLUSH, RELEASE) of 100 to 200 us each and a SQLite transaction of
    10 us: 1,000 to 2,000 per second.  A mount starts an interpreter (0.5 s) and reads
    every extent once: 10 to 20 us each.

Baseline
    The same work on the tmpfs that holds the members, in the same round.

Meaningless if
    something else keeps the CPUs busy (see the spread), or the memory of the
    machine is touched for the first time (the first round is for warming up).

Run
    make bench            or: .venv/bin/python -m bench.figures --rounds 5 --json figures.json
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

from iomapd.cli.console import table
from iomapd.errors import IomapdError
from iomapd.geometry.sizes import format_size
from iomapd.tools import machine
from iomapd.tools.create import create_volume
from iomapd.tools.demo import DemoSettings, layout_text
from iomapd.tools.fio import Point, Target, fill, measure
from iomapd.tools.temporary import mounted
from iomapd.volume.layout_file import load_layout

MIB = 1 << 20
FILE_SIZE = 256 * MIB
MEMBERS = DemoSettings(nr_members=4, member_size=512 * MIB, unit=64 << 10)

THROUGHPUT = {
    "1 MiB sequential read, O_DIRECT, 1 in flight": Point("read", True, 1),
    "1 MiB sequential read, O_DIRECT, 8 in flight": Point("read", True, 8),
    "1 MiB sequential write, O_DIRECT, 1 in flight": Point("write", True, 1),
    "1 MiB sequential write, O_DIRECT, 8 in flight": Point("write", True, 8),
    "1 MiB sequential read, buffered, cold": Point("read", False, 1),
}
OPERATIONS = {
    "4 KiB random read, O_DIRECT, 1 in flight": Point("randread", True, 1, 4096),
    "4 KiB random read, O_DIRECT, 8 in flight": Point("randread", True, 8, 4096),
    "4 KiB random write, O_DIRECT, 1 in flight": Point("randwrite", True, 1, 4096),
}


@dataclass
class Figure:
    """One line of the table: what each round gave, on the mount and on plain tmpfs."""

    unit: str
    mount: list[float] = field(default_factory=list)
    tmpfs: list[float] = field(default_factory=list)

    def row(self, name: str) -> tuple[str, ...]:
        """Return the cells of the table."""
        spread = (max(self.mount) - min(self.mount)) / 2 / median(self.mount)
        plain = _number(median(self.tmpfs)) if self.tmpfs else "-"
        return name, _number(median(self.mount)), f"±{spread:.0%}", plain, self.unit


Figures = dict[str, Figure]


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    figures: Figures = {}
    with _workplace() as place:
        layout, mountpoint = place / "volume.toml", place / "mnt"
        with mounted(layout, mountpoint, log=place / "server.log"):
            measure_requests(figures, mountpoint, place, arguments.rounds, arguments.seconds)
        for _ in range(arguments.rounds):
            measure_names(figures, layout, mountpoint, place, arguments.files)
        measure_mount(figures, layout, mountpoint, arguments.many, arguments.rounds)
    _report(figures, arguments)


def measure_requests(
    figures: Figures, mountpoint: Path, place: Path, rounds: int, seconds: float
) -> None:
    """Measure reads and writes of one file, on the mount and on tmpfs in turn."""
    mount = Target("mount", (mountpoint / "file",), FILE_SIZE)
    plain = Target("tmpfs", (place / "file",), FILE_SIZE)
    fill([*mount.paths, *plain.paths], FILE_SIZE)
    for number in range(rounds + 1):
        for name, point in {**THROUGHPUT, **OPERATIONS}.items():
            rates = measure(point, [plain, mount], seconds)
            is_small = name in OPERATIONS
            figure = figures.setdefault(name, Figure("ops/s" if is_small else "GiB/s"))
            if number == 0:
                continue  # pages are touched for the first time: not counted
            for target, found in (("mount", figure.mount), ("tmpfs", figure.tmpfs)):
                rate = rates[target]
                found.append(rate.iops if is_small else rate.bandwidth / (1 << 30))
    for path in (*mount.paths, *plain.paths):
        path.unlink()


def measure_names(
    figures: Figures, layout: Path, mountpoint: Path, place: Path, nr_files: int
) -> None:
    """Create, look at, list and remove *nr_files* empty files; looking starts with cold caches."""
    label = f"{nr_files:,} files"
    plain = place / "plain"
    plain.mkdir(exist_ok=True)
    with mounted(layout, mountpoint, log=place / "server.log"):
        (mountpoint / "names").mkdir(exist_ok=True)
        _rate(figures, f"create, {label}", _create, mountpoint / "names", plain, nr_files)
    with mounted(layout, mountpoint, log=place / "server.log"):
        _rate(figures, f"stat, {label}, cold", _stat, mountpoint / "names", plain, nr_files)
    with mounted(layout, mountpoint, log=place / "server.log"):
        for directory, key in ((mountpoint / "names", "mount"), (plain, "tmpfs")):
            figure = figures.setdefault(f"ls -l, {label}, cold", Figure("s"))
            getattr(figure, key).append(_seconds(partial(_list, directory)))
        _rate(figures, f"unlink, {label}", _unlink, mountpoint / "names", plain, nr_files)


def measure_mount(
    figures: Figures, layout: Path, mountpoint: Path, nr_files: int, rounds: int
) -> None:
    """Measure what a mount takes, of an empty volume and of one with *nr_files* small files."""
    log = layout.with_name("server.log")
    for count in (0, nr_files):
        with mounted(layout, mountpoint, log=log):
            _fill_with_small_files(mountpoint / "many", count)
        name = f"mount, {count:,} files of 4 KiB" if count else "mount, empty volume"
        figure = figures.setdefault(name, Figure("s"))
        for _ in range(rounds):
            start = time.monotonic()
            with mounted(layout, mountpoint, log=log):
                figure.mount.append(time.monotonic() - start)


def _rate(
    figures: Figures,
    name: str,
    work: Callable[[Path, int], None],
    mount: Path,
    plain: Path,
    nr_files: int,
) -> None:
    figure = figures.setdefault(name, Figure("ops/s"))
    figure.mount.append(nr_files / _seconds(lambda: work(mount, nr_files)))
    figure.tmpfs.append(nr_files / _seconds(lambda: work(plain, nr_files)))


def _create(directory: Path, nr_files: int) -> None:
    for number in range(nr_files):
        os.close(os.open(f"{directory}/{number:07}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))


def _stat(directory: Path, nr_files: int) -> None:
    for number in range(nr_files):
        os.stat(f"{directory}/{number:07}")  # noqa: PTH116  a Path would cost as much as the call


def _unlink(directory: Path, nr_files: int) -> None:
    for number in range(nr_files):
        os.unlink(f"{directory}/{number:07}")  # noqa: PTH108  as above


def _list(directory: Path) -> None:
    subprocess.run(["ls", "-l", str(directory)], stdout=subprocess.DEVNULL, check=True)


def _fill_with_small_files(directory: Path, nr_files: int) -> None:
    block = os.urandom(4096)
    for number in range(nr_files):
        # A thousand to a directory, as people have them.
        place = directory / f"{number // 1000:04}"
        if number % 1000 == 0:
            place.mkdir(parents=True)
        (place / f"{number:07}").write_bytes(block)


def _seconds(work: Callable[[], None]) -> float:
    start = time.monotonic()
    work()
    return time.monotonic() - start


@contextmanager
def _workplace() -> Iterator[Path]:
    """Provide a directory in memory with a created volume; remove it afterwards."""
    place = Path(tempfile.mkdtemp(prefix="iomapd-figures-", dir="/dev/shm"))
    try:
        (place / "mnt").mkdir()
        (place / "volume.toml").write_text(layout_text(MEMBERS))
        create_volume(load_layout(place / "volume.toml"))
        yield place
    finally:
        if not (place / "mnt").is_mount():
            shutil.rmtree(place)


def _report(figures: Figures, arguments: argparse.Namespace) -> None:
    about = machine.describe()
    print(
        f"{about['cpus']} x {about['cpu']}, {format_size(int(str(about['memory'])))}, "
        f"Linux {about['kernel']}, iomapd {about['iomapd']}; 4 members in memory, unit 64KiB; "
        f"medians of {arguments.rounds} rounds"
    )
    rows = [figure.row(name) for name, figure in figures.items()]
    print(table(("FIGURE", "MOUNT", "SPREAD", "TMPFS", "UNIT"), rows, left="FIGURE UNIT"))
    if arguments.json:
        body = {"schema": "iomapd.figures", "version": 1, "machine": about}
        body["figures"] = {name: vars(figure) for name, figure in figures.items()}
        arguments.json.write_text(json.dumps(body, indent=2) + "\n")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The figures that releases are compared by.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.5, help="length of a fio run")
    parser.add_argument("--files", type=int, default=10_000, help="files to create, stat, list")
    parser.add_argument("--many", type=int, default=100_000, help="files of the volume to mount")
    parser.add_argument("--json", type=Path, help="write the figures of every round to this file")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except IomapdError as error:
        sys.exit(f"figures: {error}")
