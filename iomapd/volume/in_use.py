# SPDX-License-Identifier: MIT
"""Who else uses a file or block device, in words: mounts, swap, device mapper, loops, locks.

For block devices the kernel itself refuses (O_EXCL); what is found here makes
its "Device or resource busy" readable.  For image files it is the only warning
there is: nothing else stops two users of one file.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from iomapd.abi.mountinfo import read_mounts
from iomapd.volume.resting import SYS_BLOCK

if TYPE_CHECKING:
    from collections.abc import Iterator

PROC_SWAPS: Final = Path("/proc/swaps")
PROC_LOCKS: Final = Path("/proc/locks")
SYS_LOOPS: Final = Path("/sys/block")


def users_of(found: os.stat_result) -> list[str]:
    """Say who uses the file or block device that *found* describes.

    Returns:
        Phrases such as "mounted at /mnt" or "attached to /dev/loop3"; empty when
        nobody is known to.
    """
    users = [f"swap space ({path})" for path in _swaps() if _is_same(path, found)]
    if stat.S_ISBLK(found.st_mode):
        users.extend(_users_of_block(os.major(found.st_rdev), os.minor(found.st_rdev)))
    else:
        users.extend(f"attached to {loop}" for loop in _loops_over(found))
    return users


def lock_holder(found: os.stat_result) -> str:
    """Name the process that holds a flock on *found*: "process 12 (name)" or "another process"."""
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in _lines(PROC_LOCKS):
        fields = line.split()
        if "FLOCK" in fields and place in fields and fields[4].isdigit():
            return _process(int(fields[4]))
    return "another process"


def _users_of_block(major: int, minor: int) -> Iterator[str]:
    for entry in read_mounts():
        if entry.device == (major, minor):
            yield f"mounted at {entry.mountpoint}"
    sysfs = SYS_BLOCK / f"{major}:{minor}"
    for holder in _names(sysfs / "holders"):
        yield f"held by {holder}"
    for child in _names(sysfs):
        if (sysfs / child / "partition").exists():
            number = (sysfs / child / "dev").read_text().split(":")
            for user in _users_of_block(int(number[0]), int(number[1])):
                yield f"{user} (its partition {child})"


def _swaps() -> Iterator[Path]:
    for line in _lines(PROC_SWAPS)[1:]:
        yield Path(line.split()[0].replace("\\040", " "))


def _loops_over(found: os.stat_result) -> Iterator[str]:
    for name in _names(SYS_LOOPS):
        backing = SYS_LOOPS / name / "loop" / "backing_file"
        for line in _lines(backing):
            if _is_same(Path(line), found):
                yield f"/dev/{name}"


def _is_same(path: Path, found: os.stat_result) -> bool:
    try:
        other = path.stat()
    except OSError:
        return False
    if stat.S_ISBLK(found.st_mode):
        return stat.S_ISBLK(other.st_mode) and other.st_rdev == found.st_rdev
    return os.path.samestat(other, found)


def _process(pid: int) -> str:
    name = " ".join(_lines(Path(f"/proc/{pid}/comm")))
    return f"process {pid} ({name})" if name else f"process {pid}"


def _lines(path: Path) -> list[str]:
    # Files of /proc and /sys come and go with what they describe.
    try:
        return path.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []


def _names(directory: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in directory.iterdir())
    except OSError:
        return []
