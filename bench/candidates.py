# SPDX-License-Identifier: MIT
"""What is measured side by side: directories on several file systems, made in memory.

Each candidate is a context manager that yields the directory where its files go, and leaves no
mount, loop device or process behind.  All of them keep their bytes in one tmpfs, so that none has
the better device:

    raw         a directory of that tmpfs
    volume      iomapd on image files, or on loop devices over such files
    mergerfs    over as many directories as a volume has members
    bindfs      over one directory
    btrfs       raid0 over loop devices

Others get what makes them fast: mergerfs keeps no page cache, bindfs runs threads, btrfs neither
checksums nor copies on write, as iomapd does not.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from iomapd.abi.mountinfo import find_mount
from iomapd.errors import IomapdError
from iomapd.tools.create import create_volume
from iomapd.tools.fio import fill
from iomapd.tools.temporary import mounted
from iomapd.volume.layout_file import load_layout

KIB, MIB = 1 << 10, 1 << 20
MEMORY: Final = Path("/dev/shm")
NR_MEMBERS: Final = 4
WORDS: Final = {
    "raw": "one tmpfs file",
    "lanes": "iomapd, lanes",
    "python": "iomapd, no lanes",
    "mergerfs": "mergerfs",
    "bindfs": "bindfs",
    "btrfs": "btrfs raid0, loops",
    "loops": "iomapd, loops",
}
"""What there is to be measured side by side, and what a chart calls it."""

_NEEDS: Final = {
    "mergerfs": ("mergerfs",),
    "bindfs": ("bindfs",),
    "btrfs": ("root", "mkfs.btrfs", "losetup"),
    "loops": ("root", "losetup"),
}
_BTRFS_MIN: Final = 128 * MIB  # of a device
_MARGIN: Final = 48 * MIB  # left free when a file system is filled once


class BenchError(IomapdError):
    """Something that is to be measured could not be made."""


@dataclass(frozen=True)
class Candidate:
    """Something to measure: *words* are for the chart, files go into *directory*."""

    name: str
    words: str
    directory: Path = Path()


@contextmanager
def side_by_side(wanted: Iterable[str], size: int, lanes: int) -> Iterator[list[Candidate]]:
    """Make candidates for files of *size* bytes; say which cannot be made, go on without them.

    Args:
        wanted: names in `WORDS`.
        size: bytes; there is room for two such files and a third that is new.
        lanes: of the volume served by lanes.
    """
    member_size = size + size // 4
    served = partial(volume, member_size=member_size)
    recipes: dict[str, Callable[[Path], AbstractContextManager[Path]]] = {
        "raw": raw,
        "lanes": partial(served, lanes=lanes),
        "python": partial(served, lanes=0),
        "mergerfs": mergerfs,
        "bindfs": bindfs,
        "btrfs": partial(btrfs, member_size=max(member_size, _BTRFS_MIN)),
        # Without the devices' page cache, as btrfs reads and writes with O_DIRECT.
        "loops": partial(served, options={"io": "direct"}, on_loops=True),
    }
    with workplace("bench") as place, ExitStack() as stack:
        candidates = []
        for name in wanted:
            if reason := hindrance(_NEEDS.get(name, ())):
                print(f"{name} is not measured: {reason}", file=sys.stderr)
                continue
            directory = stack.enter_context(recipes[name](place / name))
            candidates.append(Candidate(name, WORDS[name], directory))
        yield candidates


@contextmanager
def workplace(name: str) -> Iterator[Path]:
    """Provide a directory in memory; remove it afterwards, unless a mount is stuck in it."""
    # Ended by `timeout`, a bench cleans up as it does on Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    place = Path(tempfile.mkdtemp(prefix=f"iomapd-{name}-", dir=MEMORY))
    try:
        yield place
    finally:
        stuck = [path for path in place.glob("*/mnt") if find_mount(path) is not None]
        if not stuck:
            shutil.rmtree(place)


@contextmanager
def raw(place: Path) -> Iterator[Path]:
    """Yield a directory of the tmpfs itself."""
    place.mkdir()
    yield place


@contextmanager
def volume(
    place: Path,
    *,
    member_size: int,
    unit: int = 64 * KIB,
    lanes: int | None = None,
    options: dict[str, str | None] | None = None,
    on_loops: bool = False,
) -> Iterator[Path]:
    """Create and mount a volume of `NR_MEMBERS` members; every byte of it has been touched.

    Args:
        place: a directory to be made.
        member_size: of each member, bytes.
        unit: stripe unit, bytes.
        lanes: as ``iomapd mount --lanes``.
        options: as ``iomapd mount -o``.
        on_loops: members are loop devices, not image files.
    """
    with ExitStack() as stack:
        mountpoint = _made(place)
        size = f"size = {member_size}\n"
        paths = [f"m{index}.img" for index in range(NR_MEMBERS)]
        if on_loops:
            paths, size = [str(path) for path in loops(stack, place, member_size)], ""
        members = "".join(f'\n[[member]]\npath = "{path}"\n{size}' for path in paths)
        layout = place / "volume.toml"
        layout.write_text(f'[volume]\nname = "bench"\nunit = {unit}\n{members}')
        create_volume(load_layout(layout))
        server = mounted(layout, mountpoint, log=place / "server.log", options=options, lanes=lanes)
        stack.enter_context(server)
        touch(mountpoint)
        yield mountpoint


@contextmanager
def mergerfs(place: Path) -> Iterator[Path]:
    """Mount mergerfs over `NR_MEMBERS` directories."""
    mountpoint = _made(place)
    branches = [place / f"branch{index}" for index in range(NR_MEMBERS)]
    for branch in branches:
        branch.mkdir()
    options = "cache.files=off,category.create=mfs,minfreespace=0,fsname=bench"
    with _mounted("mergerfs", "-o", options, ":".join(map(str, branches)), at=mountpoint):
        yield mountpoint


@contextmanager
def bindfs(place: Path) -> Iterator[Path]:
    """Mount bindfs over one directory."""
    mountpoint = _made(place)
    (place / "below").mkdir()
    with _mounted("bindfs", "--multithreaded", str(place / "below"), at=mountpoint):
        yield mountpoint


@contextmanager
def btrfs(place: Path, *, member_size: int) -> Iterator[Path]:
    """Mount btrfs, raid0 for data and metadata, over `NR_MEMBERS` loop devices."""
    with ExitStack() as stack:
        mountpoint = _made(place)
        devices = [str(path) for path in loops(stack, place, member_size)]
        run("mkfs.btrfs", "-q", "-d", "raid0", "-m", "raid0", *devices)
        # Several devices: the kernel must have heard of each before it mounts one.
        run("btrfs", "device", "scan", *devices)
        command = ["mount", "-t", "btrfs", "-o", "nodatacow", devices[0]]
        stack.enter_context(_mounted(*command, at=mountpoint))
        touch(mountpoint)
        yield mountpoint


def loops(stack: ExitStack, place: Path, size: int) -> list[Path]:
    """Make `NR_MEMBERS` loop devices over files of *size* bytes; *stack* detaches them."""
    devices = []
    for index in range(NR_MEMBERS):
        path = place / f"backing{index}"
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
        device = run("losetup", "--find", "--show", str(path))
        stack.callback(run, "losetup", "--detach", device)
        devices.append(Path(device))
    return devices


def touch(directory: Path) -> None:
    """Write nearly all of a file system once: a first touch of memory is not what is measured."""
    room = os.statvfs(directory)
    size = (room.f_bavail * room.f_frsize - _MARGIN) // MIB * MIB
    path = directory / "touched"
    if size > 0:
        fill([path], size)
        path.unlink()
        settle(directory)


def settle(directory: Path) -> None:
    """Make durable what was done; space that was freed may be used from now on."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def hindrance(needs: Sequence[str]) -> str:
    """Return why something that *needs* programs (or "root") cannot be made here, or nothing."""
    if "root" in needs and os.geteuid() != 0:
        return "needs root"
    absent = [name for name in needs if name != "root" and shutil.which(name) is None]
    return f"{', '.join(absent)}: not installed" if absent else ""


def run(*command: str) -> str:
    """Run *command* and return what it printed.

    Raises:
        BenchError: it failed; its own last line.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines() or [f"exit {done.returncode}"]
        raise BenchError(f"{command[0]}: {words[-1]}")
    return done.stdout.strip()


@contextmanager
def _mounted(*command: str, at: Path) -> Iterator[None]:
    run(*command, str(at))
    try:
        yield
    finally:
        run("umount", str(at))


def _made(place: Path) -> Path:
    mountpoint = place / "mnt"
    mountpoint.mkdir(parents=True)
    return mountpoint
