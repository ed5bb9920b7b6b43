# SPDX-License-Identifier: MIT
"""Rewrite files of a mounted volume into the layout of their directory, while they are in use."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from iomapd.errors import IomapdError, UsageError
from iomapd.tools.admin import mount_of_device, request_mount

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STEP_WITHIN_SECONDS: Final = 600.0
"""A step copies and flushes; on a slow and busy disk that takes its time."""


@dataclass(frozen=True, slots=True)
class Migrated:
    """What became of one file; bytes.

    Attributes:
        path: its name, as given.
        moved: space that was moved; 0: nothing was to do.
        copied: the written part of it.
        layout: the layout it has now, as ``layout get --json`` says it.
    """

    path: str
    moved: int
    copied: int
    layout: dict[str, Any]


def migrate_file(
    path: Path, step: int | None, progress: Callable[[str, int, int], None]
) -> Migrated:
    """Move *path* into the layout of the directory that it lies in, and make that durable.

    Stopped at any moment, the file is whole, part of it moved; another run goes on from there.

    Args:
        path: a regular file; a symbolic link stands for its target.
        step: bytes moved at a time; None leaves that to the server.
        progress: told of the bytes that are done and of how many there are.

    Raises:
        UsageError: *path* is not a regular file.
        MountError: it is not on a mounted volume, or no server answers.
        ServerError: the server refuses; the message begins with *path*.
        OSError: it cannot be opened.
    """
    real = path.resolve(strict=True)
    # Held open, so that the number is this file's to the end, whatever becomes of its name.
    fd = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(f"{path}: is not a regular file; only those can be migrated")
        entry = mount_of_device(found.st_dev, path)
        asked = {"ino": found.st_ino, "directory": real.parent.stat().st_ino}
        if step is not None:
            asked["limit"] = step
        pos, moved, copied, done = 0, 0, 0, False
        while not done:
            answer = request_mount(entry, "migrate", timeout=STEP_WITHIN_SECONDS, **asked, pos=pos)
            pos, done = answer["pos"], answer["done"]
            moved, copied = moved + answer["moved"], copied + answer["copied"]
            progress(str(path), pos, answer["end"])
        if moved:
            request_mount(entry, "point")  # only then the old space is free
        return Migrated(
            str(path), moved, copied, request_mount(entry, "layout.get", ino=found.st_ino)
        )
    except IomapdError as error:
        if not str(error).startswith(str(path)):
            error.args = (f"{path}: {error}",)
        raise
    finally:
        os.close(fd)
