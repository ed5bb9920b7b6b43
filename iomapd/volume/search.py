# SPDX-License-Identifier: MIT
"""Finding members that moved: by what they say about themselves, not by their names.

Looking is not taking: files are peeked at without any lock, and only those that
carry a superblock of the wanted volume are given to the caller, who opens and
checks them properly.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from iomapd.errors import SuperblockError
from iomapd.volume.copies import read_superblock
from iomapd.volume.in_use import users_of
from iomapd.volume.superblock import DATA_OFFSET

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from iomapd.volume.superblock import Superblock

PROC_PARTITIONS: Final = Path("/proc/partitions")


def find_moved(
    candidates: Sequence[Path], hints: Iterable[Path], backups: Sequence[int]
) -> Iterator[tuple[Path, Superblock]]:
    """Iterate over files and devices that carry a superblock, at places worth a look.

    Args:
        candidates: where the members should have been; their directories are
            looked at, and all block devices if one of them lies in ``/dev``.
        hints: further files, and directories whose files are looked at.
        backups: where a backup superblock may lie, bytes.
    """
    seen: set[Path] = {path.resolve() for path in candidates if path.exists()}
    for path in _places(candidates, hints):
        real = path.resolve()
        if real not in seen:
            seen.add(real)
            superblock = peek(real, backups)
            # A file under a loop device is not where the member is; the device is.
            if superblock is not None and not users_of(real.stat()):
                yield path, superblock


def peek(path: Path, backups: Sequence[int] = ()) -> Superblock | None:
    """Return the superblock that *path* carries, or None: no lock, no complaint."""
    try:
        # Non-blocking: opening a fifo for reading waits for a writer.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        mode = os.fstat(fd).st_mode
        size = os.lseek(fd, 0, os.SEEK_END) if stat.S_ISREG(mode) or stat.S_ISBLK(mode) else 0
        # Reading what cannot be a member would only cost time.
        found = read_superblock(fd, path, size, backups) if size > DATA_OFFSET else None
    except (OSError, SuperblockError):
        return None
    finally:
        os.close(fd)
    return found.superblock if found else None


def is_in_dev(path: Path) -> bool:
    """Tell whether *path* is a place for devices: ``/dev``, but not the files in ``/dev/shm``."""
    return path.is_relative_to("/dev") and not path.is_relative_to("/dev/shm")


def _places(candidates: Sequence[Path], hints: Iterable[Path]) -> Iterator[Path]:
    directories: dict[Path, None] = {}
    for hint in hints:
        if hint.is_dir():
            directories[hint] = None
        else:
            yield hint
    in_dev = [path for path in candidates if is_in_dev(path.resolve())]
    # The directory of a link to a device may hold the links' neighbours, or files.
    directories.update((path.parent, None) for path in candidates if not is_in_dev(path))
    for directory in directories:
        yield from _files_of(directory)
    if in_dev:
        yield from _block_devices()


def _files_of(directory: Path) -> Iterator[Path]:
    try:
        yield from (path for path in sorted(directory.iterdir()) if path.is_file())
    except OSError:
        return


def _block_devices() -> Iterator[Path]:
    # major minor #blocks name, below a header line and a blank one
    for line in PROC_PARTITIONS.read_text().splitlines()[2:]:
        yield Path("/dev") / line.split()[3]
