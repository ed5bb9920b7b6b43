# SPDX-License-Identifier: MIT
"""Programs of a mounted volume: make one known to it, or put one in the place of another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from iomapd.abi.shipped import shipped_dir
from iomapd.tools.admin import request
from iomapd.volume.program_source import read_program

if TYPE_CHECKING:
    from collections.abc import Callable

ROUND_WITHIN_SECONDS: Final = 600.0
"""A round examines and compares programs; one geometry can be a whole terabyte."""


def named(program: str) -> dict[str, str]:
    """Return what an admin request says of a program: its name, and its text if it is a file.

    Raises:
        ProgramError: the file cannot be read.
    """
    if not ("/" in program or program.endswith(".py")):
        return {"program": program}
    source = read_program(program, Path.cwd(), shipped_dir("programs"))
    return {"program": source.name, "source": source.text}


def attach_program(mountpoint: Path, program: str) -> dict[str, Any]:
    """Let a mounted volume examine and keep a program; its name, digest and parameters.

    Raises:
        ProgramError: the file cannot be read.
        MountError: nothing is mounted there, or no server answers.
        ServerError: it is refused.
    """
    return request(mountpoint, "program.attach", timeout=ROUND_WITHIN_SECONDS, **named(program))


def replace_program(
    mountpoint: Path, old: str, new: str, progress: Callable[[str, int, int], None]
) -> dict[str, Any]:
    """Put *new* in the place of *old* on a mounted volume, if it maps alike.

    Args:
        mountpoint: where the volume is mounted.
        old: a program of the volume, NAME or NAME@DIGEST.
        new: a shipped program, a file, or one of the volume as *old*.
        progress: told of the geometries that are compared, and of how many there are.

    Raises:
        ProgramError: the file cannot be read.
        MountError: nothing is mounted there, or no server answers.
        ServerError: it is refused, and nothing has changed.
    """
    asked = {"old": old, **named(new)}
    while True:
        answer = request(mountpoint, "program.replace", timeout=ROUND_WITHIN_SECONDS, **asked)
        progress("geometries compared", answer["proved"], answer["total"])
        if answer["done"]:
            return answer
