# SPDX-License-Identifier: MIT
"""After create the store has the last word: a layout file that contradicts it is refused.

The layout file locates members and sets ``[io]``.  What it says of the volume
itself must still be true, or somebody would believe it; each refusal names the
command that makes such a change, for new files, or says that none does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from iomapd.errors import LayoutFileError
from iomapd.geometry.sizes import format_size
from iomapd.volume.program_source import ProgramSource, bind_params, program_path

if TYPE_CHECKING:
    from iomapd.volume.layout_file import LayoutFile


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store says of the volume; *unit* in bytes, *params* as its root layout has them."""

    name: str
    unit: int
    program: str
    source: str
    params: tuple[int, ...]
    nr_members: int


def refuse_contradiction(layout: LayoutFile, stored: Stored) -> None:
    """Compare a layout file with the store of its volume.

    Raises:
        LayoutFileError: they differ; names file, key, both values and the remedy.
        ProgramError: ``[volume.params]`` does not fit the stored program.
    """
    set_layout = "to change it for new files: iomapd layout set MOUNTPOINT"
    if layout.name != stored.name:
        _refuse(layout, "name", f'"{layout.name}"', f'"{stored.name}"', "a volume keeps its name")
    if layout.unit != stored.unit:
        wanted = format_size(layout.unit)
        remedy = f"{set_layout} --unit {wanted}"
        _refuse(layout, "unit", wanted, format_size(stored.unit), remedy)
    # Only the name: mount runs the stored source, whatever a file of that name says now.
    name = program_path(layout.program, layout.path.parent, layout.path.parent).stem
    if name != stored.program:
        remedy = f"{set_layout} --program {layout.program}"
        _refuse(layout, "program", f'"{layout.program}"', f'"{stored.program}"', remedy)
    source = ProgramSource(stored.program, stored.source, layout.metadata)
    params = bind_params(source, layout.params, layout.place("volume", "params"))
    if params != stored.params:
        here, there = _numbers(params), _numbers(stored.params)
        _refuse(layout, "params", here, there, f"{set_layout} --param NAME=VALUE")
    if len(layout.members) != stored.nr_members:
        raise LayoutFileError(
            f"{layout.path}: lists {len(layout.members)} members; the volume has "
            f"{stored.nr_members}, and no command changes that"
        )


def _refuse(layout: LayoutFile, key: str, here: str, there: str, remedy: str) -> None:
    place = layout.place("volume", key)
    raise LayoutFileError(f"{place}: volume.{key} = {here}: the store says {there}; {remedy}")


def _numbers(params: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, params))})"
