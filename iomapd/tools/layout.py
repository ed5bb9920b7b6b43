# SPDX-License-Identifier: MIT
"""Read and change the layout of a directory or file of a mounted volume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from iomapd.geometry.sizes import parse_size
from iomapd.tools.admin import mount_of_device, request_mount
from iomapd.tools.program_live import named


def layout_of(path: Path) -> dict[str, Any]:
    """Return the layout of *path*: layout_id, unit (bytes), width (0: all), program, params.

    Raises:
        MountError: *path* is not on a mounted volume, or no server answers.
        ServerError: the server refuses.
    """
    found = path.stat()
    return request_mount(mount_of_device(found.st_dev, path), "layout.get", ino=found.st_ino)


def change_layout(
    path: Path,
    *,
    unit: str | None,
    width: int | None,
    program: str | None,
    params: dict[str, int],
) -> dict[str, Any]:
    """Change what is given of the layout of *path* and return the layout it then has.

    Raises:
        UsageError: *unit* is no size.
        ProgramError: *program* is a path that cannot be read.
        MountError: *path* is not on a mounted volume, or no server answers.
        ServerError: the server refuses.
    """
    given: dict[str, Any] = {
        "unit": None if unit is None else parse_size(unit, "--unit"),
        "width": width,
        **({} if program is None else named(program)),
        "params": params or None,
    }
    changes = {key: value for key, value in given.items() if value is not None}
    found = path.stat()
    entry = mount_of_device(found.st_dev, path)
    request_mount(entry, "layout.set", ino=found.st_ino, **changes)
    return request_mount(entry, "layout.get", ino=found.st_ino)
