# SPDX-License-Identifier: MIT
"""The first five minutes with iomapd, in one: make members, create, mount, verify, measure.

Everything happens in one new directory, which is removed at the end, after the
volume is unmounted, whatever happened in between (Ctrl-C included).  Needs no
privilege that mounting does not need.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from iomapd.abi.mountinfo import find_mount
from iomapd.errors import IomapdError, SpaceError
from iomapd.geometry.sizes import format_size
from iomapd.tools.bench import QUICK, BenchReport, Settings, run_bench
from iomapd.tools.create import create_volume
from iomapd.tools.fio import verify
from iomapd.tools.map import map_of_file
from iomapd.tools.temporary import mounted
from iomapd.volume.layout_file import load_layout

if TYPE_CHECKING:
    from iomapd.tools.progress import Progress

MEMORY: Final = Path("/dev/shm")
LOG: Final = "server.log"


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """What to make; sizes in bytes."""

    directory: Path = Path(tempfile.gettempdir())
    nr_members: int = 4
    member_size: int = 512 << 20
    unit: int = 64 << 10
    bench: Settings = field(default_factory=lambda: Settings(QUICK, rounds=2))


@dataclass(frozen=True, slots=True)
class Step:
    """Something the demo did: the *command* a user would type, and what came of it."""

    command: str
    outcome: str


@dataclass(frozen=True, slots=True)
class DemoReport:
    """What the demo showed: bytes verified, the first pieces of a file, the measurements."""

    verified: int
    pieces: list[dict[str, Any]]
    bench: BenchReport


def run_demo(
    settings: DemoSettings, tell: Callable[[Step], None], progress: Progress
) -> DemoReport:
    """Run the demo; *tell* hears of each step when it is done.

    Raises:
        SpaceError: the directory's file system has too little room.
        IomapdError: a step failed; everything is cleaned up all the same.
    """
    with _workplace(settings) as place:
        layout, mountpoint = place / "demo.toml", place / "mnt"
        layout.write_text(layout_text(settings))
        mountpoint.mkdir()
        tell(Step(f"cd {place}", "everything happens here; removed at the end"))
        with _timed() as seconds:
            create_volume(load_layout(layout), force=False, dry_run=False, progress=progress)
        members = f"{settings.nr_members} members of {format_size(settings.member_size)}"
        unit = format_size(settings.unit)
        tell(Step(f"iomapd create {layout.name}", f"{members}, unit {unit}: {seconds()}"))
        with _timed() as seconds, mounted(layout, mountpoint, log=place / LOG) as mount:
            outcome = f"served by pid {mount.pid}: {seconds()}"
            tell(Step(f"iomapd mount {layout.name} {mountpoint.name}", outcome))
            verified = _verify(mountpoint, settings, tell, progress)
            pieces = map_of_file(mountpoint / "stream")["extents"][: settings.nr_members + 1]
            tell(Step(f"iomapd map {mountpoint.name}/stream", _pieces_in_words(pieces)))
            (mountpoint / "stream").unlink()
            (mountpoint / "random").unlink()
            tell(Step(f"iomapd bench --quick {mountpoint.name}", "takes half a minute; see below"))
            bench = run_bench(mountpoint, settings.bench, progress)
        tell(Step(f"iomapd umount {mountpoint.name}", "committed, server gone"))
    return DemoReport(verified, pieces, bench)


def layout_text(settings: DemoSettings) -> str:
    """Return the layout file of the demo, as a user would write it."""
    members = "".join(
        f'\n[[member]]\npath = "m{index}.img"\nsize = {settings.member_size}\n'
        for index in range(settings.nr_members)
    )
    return f'[volume]\nname = "demo"\nunit = {settings.unit}\n{members}'


def _verify(
    mountpoint: Path, settings: DemoSettings, tell: Callable[[Step], None], progress: Progress
) -> int:
    """Write checksummed data in two ways and read it back; return the bytes verified."""
    total = 0
    for name, size, block_size, pattern, jobs in (
        ("stream", settings.bench.size, 1 << 20, "write", 4),
        ("random", settings.bench.size // 16, 4096, "randwrite", 4),
    ):
        progress(f"writing and verifying {name}", 0, 0)
        with _timed() as seconds:
            done = verify(mountpoint / name, size, block_size, pattern, jobs)  # type: ignore[arg-type]
        total += done
        command = (
            f"fio --verify=crc32c --rw={pattern} --bs={format_size(block_size)} "
            f"--numjobs={jobs} --filename={mountpoint.name}/{name}"
        )
        tell(Step(command, f"{format_size(done)} verified: {seconds()}"))
    return total


def _pieces_in_words(pieces: list[dict[str, Any]]) -> str:
    words = [f"{format_size(piece['offset'])} -> member {piece['member']}" for piece in pieces]
    return ", ".join(words) + ", ..."


@contextmanager
def _workplace(settings: DemoSettings) -> Iterator[Path]:
    """Provide a new directory with enough room; remove it, unless a mount is stuck in it."""
    # Members, their twins for the ceiling, and some air.
    needed = settings.nr_members * (settings.member_size + settings.bench.size) + (256 << 20)
    free = shutil.disk_usage(settings.directory).free
    if free < needed:
        raise SpaceError(
            f"{settings.directory}: {format_size(free)} free, the demo needs "
            f"{format_size(needed)}; choose another place with --directory"
        )
    place = Path(tempfile.mkdtemp(prefix="iomapd-demo-", dir=settings.directory))
    try:
        yield place
    except IomapdError as error:
        # The directory goes; what the server had to say about the failure stays.
        if (place / LOG).exists():
            kept = shutil.copy(place / LOG, settings.directory / f"{place.name}.log")
            raise IomapdError(f"{error}; the server's log: {kept}") from error
        raise
    finally:
        # Never walk into a mount that could not be ended.
        if find_mount(place / "mnt") is None:
            shutil.rmtree(place)


@contextmanager
def _timed() -> Iterator[Callable[[], str]]:
    start = time.monotonic()
    yield lambda: f"{time.monotonic() - start:.1f} s"
