# SPDX-License-Identifier: MIT
"""Read and change the layout of a directory or file of a mounted volume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from iomapd.abi.shipped import shipped_dir
from iomapd.geometry.sizes import parse_size
from iomapd.tools.admin import mount_of_device, request_mount
from iomapd.volume.program_source import read_program


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
        **_program(program),
        "params": params or None,
    }
    changes = {key: value for key, value in given.items() if value is not None}
    found = path.stat()
    entry = mount_of_device(found.st_dev, path)
    request_mount(entry, "layout.set", ino=found.st_ino, **changes)
    return request_mount(entry, "layout.get", ino=found.st_ino)


def _program(program: str | None) -> dict[str, str | None]:
    """Return the name of a program, and its text where it is a file of the user's own."""
    if program is None or not ("/" in program or program.endswith(".py")):
        return {"program": program}
    source = read_program(program, Path.cwd(), shipped_dir("programs"))
    return {"program": source.name, "source": source.text}
