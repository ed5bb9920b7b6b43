# SPDX-License-Identifier: MIT
"""The mapping of a file on a mounted volume, as its server knows it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from iomapd.errors import UsageError
from iomapd.tools.admin import mount_of_device, request_mount


def map_of_file(path: Path) -> dict[str, Any]:
    """Return the body of ``iomapd map --json`` for a regular file.

    The file is made durable first, from here: only the kernel knows of pages
    that were written through mmap(2) and never sent.

    Raises:
        UsageError: *path* is not a regular file.
        MountError: it is not on a mounted volume, or no server answers.
        OSError: it cannot be opened.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(f"{path}: is not a regular file; only those have a mapping")
        entry = mount_of_device(found.st_dev, path)
        os.fsync(fd)
        # By inode number: the name may be another file's by the time the server looks.
        return request_mount(entry, "map", ino=found.st_ino)
    finally:
        os.close(fd)
