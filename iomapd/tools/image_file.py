# SPDX-License-Identifier: MIT
"""Image files for members: made whole or not at all, and never written where nothing was asked."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from iomapd.errors import MemberError, SpaceError
from iomapd.geometry.sizes import format_size
from iomapd.meta.database import fsync_directory

if TYPE_CHECKING:
    from pathlib import Path

    from iomapd.tools.progress import Progress

STEP: Final = 1 << 30
"""Bytes allocated between two reports; file systems without fallocate(2) write zeros instead."""

MODE: Final = 0o600  # a member holds the files of every user of the mount


def make_image(path: Path, size: int, *, sparse: bool, progress: Progress) -> bool:
    """Make *path* an image file of *size* bytes, or finish one that is there.

    An existing file must be empty or of *size* bytes already; its bytes stay.
    Killed half-way it leaves a file that a repeated call completes; failing, it
    takes back what it began.

    Args:
        path: where; its directory exists.
        size: bytes; > 0.
        sparse: do not allocate; writes may then fail when the host's disk is full.
        progress: told about allocation.

    Returns:
        Whether the file was not there before.

    Raises:
        SpaceError: the file system is too full.
        MemberError: anything else that kept it from being made.
    """
    try:
        fd, made = _open(path)
    except OSError as exc:
        raise MemberError(f"{path}: image file: {exc.strerror}") from exc
    try:
        empty = os.fstat(fd).st_size == 0
        try:
            if empty:
                os.ftruncate(fd, size)
            if not sparse:
                _allocate(fd, path.name, size, progress)
            os.fsync(fd)
            fsync_directory(path.parent)
        except BaseException:
            _take_back(fd, path, made, empty)
            raise
    except OSError as exc:
        raise _failure(path, size, exc) from exc
    finally:
        os.close(fd)
    return made


def _open(path: Path) -> tuple[int, bool]:
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    with suppress(FileExistsError):
        return os.open(path, flags | os.O_CREAT | os.O_EXCL, MODE), True
    return os.open(path.resolve(), flags), False


def _allocate(fd: int, name: str, size: int, progress: Progress) -> None:
    what = f"allocating {name}"
    space, has = os.fstatvfs(fd), os.fstat(fd).st_blocks * 512
    # Looked at first: allocating until nothing is left would take everybody's room, in memory
    # everybody's memory, before it is given back.  A tmpfs without a limit has no blocks at all.
    if space.f_blocks and size - has > space.f_bfree * space.f_frsize:
        raise OSError(SpaceError.errno, os.strerror(SpaceError.errno))
    for done in range(0, size, STEP):
        progress(what, done, size)
        os.posix_fallocate(fd, done, min(STEP, size - done))
    progress(what, size, size)


def _take_back(fd: int, path: Path, made: bool, empty: bool) -> None:
    if made:
        path.unlink(missing_ok=True)
    elif empty:
        os.ftruncate(fd, 0)


def _failure(path: Path, size: int, exc: OSError) -> MemberError | SpaceError:
    space = os.statvfs(path.parent)
    free = format_size(space.f_bavail * space.f_frsize)
    if exc.errno == SpaceError.errno:
        return SpaceError(
            f"{path}: an image file of {format_size(size)} does not fit: its file system has "
            f"{free} free; sparse = true makes it without allocating"
        )
    return MemberError(f"{path}: image file of {format_size(size)}: {exc.strerror}")
