# SPDX-License-Identifier: MIT
"""Twins of members: something of the same kind, in the same place, that may be written.

    member                    twin
    image file                a file in the same directory, so on the same device
    loop device               a loop device (same direct-io setting) over a file beside
                              the member's backing file; root only
    any other block device    the member itself, for reading alone

The members of a mounted volume are never opened for writing.  A twin of a
throttled loop device is not throttled: limits belong to a device number.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from iomapd.errors import IomapdError, MemberError
from iomapd.tools.fio import Target, fill

_ROOM_LEFT = 64 << 20  # bytes left free on the file system of a twin


@dataclass(frozen=True, slots=True)
class Twins:
    """The targets that stand for the members, in member order, and what could not be made."""

    targets: tuple[Target, ...]
    notes: tuple[str, ...]

    def together(self) -> Target | None:
        """Return all twins as one target, the ceiling of the volume; None when one is missing."""
        if self.notes or not self.targets:
            return None
        return Target(
            name="ceiling",
            paths=tuple(path for target in self.targets for path in target.paths),
            size=min(target.size for target in self.targets),
            writable=all(target.writable for target in self.targets),
        )


@contextmanager
def twins_of(members: Sequence[Path], size: int) -> Iterator[Twins]:
    """Make a twin of *size* bytes for each member, filled; remove them all afterwards.

    A member whose twin cannot be made (no permission, no room) is left out and
    a note says why.
    """
    with ExitStack() as stack:
        targets, notes = [], []
        for index, member in enumerate(members):
            try:
                targets.append(_twin(stack, index, member, size))
            except (OSError, IomapdError) as error:
                reason = error.strerror if isinstance(error, OSError) else str(error)
                notes.append(f"member {index} is not measured: {member}: {reason}")
        written = [path for target in targets if target.writable for path in target.paths]
        if written:
            fill(written, size)
        yield Twins(tuple(targets), tuple(notes))


def _twin(stack: ExitStack, index: int, member: Path, size: int) -> Target:
    name = f"member{index}"
    if not member.is_block_device():
        return Target(name, (_scratch_file(stack, member, size),), size)
    backing = _backing_file(member)
    if backing is None or os.geteuid() != 0:
        return Target(name, (member,), size, writable=False)
    device = _loop_device(stack, _scratch_file(stack, backing, size), member)
    return Target(name, (device,), size)


def _scratch_file(stack: ExitStack, beside: Path, size: int) -> Path:
    path = beside.with_name(f".iomapd-bench-{os.getpid()}-{beside.name}")
    free = os.statvfs(beside.parent)
    if free.f_bavail * free.f_frsize < size + _ROOM_LEFT:
        raise MemberError(f"no room for a scratch file of {size} bytes beside it")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    stack.callback(path.unlink, missing_ok=True)
    try:
        os.posix_fallocate(fd, 0, size)
    finally:
        os.close(fd)
    return path


def _backing_file(device: Path) -> Path | None:
    """Return the file behind a loop device, or None for other devices."""
    number = device.stat().st_rdev
    place = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/loop/backing_file")
    return Path(place.read_text().rstrip("\n")) if place.exists() else None


def _loop_device(stack: ExitStack, file: Path, like: Path) -> Path:
    number = like.stat().st_rdev
    direct = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/loop/dio").read_text()
    mode = "on" if direct.strip() == "1" else "off"
    made = _losetup("--find", "--show", f"--direct-io={mode}", str(file))
    stack.callback(_losetup, "--detach", made)
    return Path(made)


def _losetup(*arguments: str) -> str:
    done = subprocess.run(["losetup", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise MemberError(f"losetup: {done.stderr.strip()}")
    return done.stdout.strip()
