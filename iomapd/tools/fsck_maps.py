# SPDX-License-Identifier: MIT
"""Proving the maps of extents again: each a bijection onto its strips, by its stored program.

The proof of an extent depends on its layout, strips, strip length and, for programs
that use it, its seed; one proof serves all that agree in these.  An extent that was cut
has lost the end of every strip: then its first rows must lie in the first units.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from iomapd.control.programs import Programs
from iomapd.errors import BadMappingError, ProgramError
from iomapd.jit.sources import CompileError
from iomapd.mapping.extent import check_extent
from iomapd.meta.check_header import sound_programs
from iomapd.meta.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iomapd.mapping.extent import Extent
    from iomapd.meta.scan import Scan

CHECK: Final = "maps"


def check_maps(scan: Scan) -> Iterator[Finding]:
    """Check the map of every extent of more than one strip; others ask no program.

    What is the same fault of one program in many files is one finding.
    """
    faults: dict[str, list[str]] = {}
    programs: Programs | None = None
    try:
        for extent in _asked(scan):
            programs = programs or Programs(scan.store, built_in=False)
            if fault := _fault_of(programs, extent):
                faults.setdefault(fault, []).append(scan.paths.path(extent.ino))
    except CompileError as exc:
        yield Finding(CHECK, f"maps are not proved on this machine: {exc}", severity="warning")
    for fault, paths in faults.items():
        others = len(set(paths)) - 1
        files = f"{paths[0]} and {others} other files" if others else paths[0]
        yield Finding(CHECK, f"{files}: {fault}", paths[0])


def _asked(scan: Scan) -> Iterator[Extent]:
    """Extents that ask a program and of which nothing else has been told."""
    sizes = {member.id: member.data_size for member in scan.store.members}
    programs = sound_programs(scan.store)
    if len(programs.rows) < len(programs.there):
        return  # the store's programs cannot be loaded
    for extent in scan.extents():
        row = scan.layouts.rows.get(extent.layout)
        if len(extent.strips) < 2 or row is None:
            continue
        try:
            check_extent(extent, sizes)
        except BadMappingError:
            continue
        # A lie about the length would be computed block by block.
        if extent.strip_length <= max(row.strip_max, row.unit):
            yield extent


def _fault_of(programs: Programs, extent: Extent) -> str:
    try:
        programs.prove(extent)
        if extent.strip_alloc < extent.strip_length and not programs.can_cut(extent):
            name = programs.rows[programs.layouts[extent.layout].program].name
            return f"program {name}: cut, though its first rows do not lie in the first units"
    except (BadMappingError, ProgramError) as exc:
        return str(exc)
    return ""
