# SPDX-License-Identifier: MIT
"""What people ask a mount: info, map, statfs, blocks of a file.  Plain data, bytes as integers."""

from __future__ import annotations

import os
import stat
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from iomapd.abi.mapping import Mapping, MappingType
from iomapd.abi.units import BLOCK
from iomapd.control.slowpath import FILE_END
from iomapd.geometry.ranges import RangeSet, round_up
from iomapd.mapping.contract import check_mapping

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iomapd.cache.inode import Inode
    from iomapd.control.core import Core
    from iomapd.control.namespace import Attributes
    from iomapd.control.points import Points
    from iomapd.dataplane.engine import Piece
    from iomapd.mapping.extent import Extent

INFO_SCHEMA = {"schema": "iomapd.info", "version": 1}
MAP_SCHEMA = {"schema": "iomapd.map", "version": 1}


@dataclass(slots=True)
class _Piece:
    """A contiguous piece of a file on one member; bytes.

    *program* is the row of the program that placed it; None: one strip, nobody was asked.
    """

    offset: int
    length: int
    type: str
    member: int
    addr: int
    program: int | None

    def continues(self, other: _Piece) -> bool:
        """Tell whether *other* follows this one in the file and on the member."""
        here = (self.offset + self.length, self.addr + self.length)
        return here == (other.offset, other.addr) and self._kind == other._kind

    @property
    def _kind(self) -> tuple[str, int, int | None]:
        return self.type, self.member, self.program


def allocated(core: Core, attributes: Attributes) -> int:
    """Return what a file occupies, bytes: what deleting it would give back after a close.

    Space made ahead of need counts as far as it would survive the trim.
    """
    if not stat.S_ISREG(attributes.mode):
        return 0
    total, ahead = core.store.space.allocated(attributes.ino)
    for extent in core.store.space.speculative(attributes.ino) if ahead else ():
        inside = max(0, attributes.size - extent.offset)
        total += min(extent.length, round_up(inside, extent.row))
    return total


def map_file(core: Core, inode: Inode) -> dict[str, Any]:
    """Return the ``map --json`` body: one entry per contiguous piece of a member.

    Raises:
        BadMappingError: a piece breaks the mapping contract.
    """
    members = {m.id: m for m in core.members}
    written = RangeSet(core.store.space.written(inode.ino))
    layouts, programs = core.layouts, core.programs.rows
    pieces: list[_Piece] = []
    for low, high, extent in core.slow.ranges(inode.ino, 0, FILE_END):
        if extent is None:
            continue
        for start, end, present in written.pieces(low, high):
            kind = MappingType.MAPPED if present else MappingType.UNWRITTEN
            for member, addr, first, last in _pieces_of(core, extent, start, end):
                answer = Mapping(first, last - first, addr, kind, 0, member)
                check_mapping(answer, core.data_size_of)
                program = layouts[extent.layout].program if len(extent.strips) > 1 else None
                piece = _Piece(first, last - first, kind.name.lower(), member, addr, program)
                if pieces and pieces[-1].continues(piece):
                    pieces[-1].length += piece.length
                else:
                    pieces.append(piece)
    return {
        **MAP_SCHEMA,
        "ino": inode.ino,
        "size": inode.size,
        "extents": [
            {
                "offset": p.offset,
                "length": p.length,
                "type": p.type,
                "member": members[p.member].index,
                "path": os.fspath(members[p.member].path.absolute()),
                "address": members[p.member].data_offset + p.addr,
                "program": programs[p.program].name if p.program else None,
                "sha256": programs[p.program].sha256 if p.program else None,
            }
            for p in pieces
        ],
    }


def _pieces_of(core: Core, extent: Extent, start: int, end: int) -> Iterator[Piece]:
    words = core.programs.encode(extent)
    while start < end:
        found = core.engine.pieces(words, start, end)
        yield from found
        start = found[-1][3]


def space_of(core: Core) -> dict[str, int]:
    """Return the volume's space, bytes; held space is counted as free."""
    size = sum(core.data_size_of.values())
    free = core.space.free + core.space.held
    return {"size": size, "used": size - free, "free": free, "held": core.space.held}


def info(core: Core) -> dict[str, Any]:
    """Return the part of ``info --json`` that the control plane knows."""
    volume, root = core.store.volume, core.layouts[core.store.root_layout]
    program = core.store.programs()[root.program]
    described = {"name": program.name, "abi": program.abi, "sha256": program.sha256}
    uuid = str(volume.uuid)
    return {
        **INFO_SCHEMA,
        "uuid": uuid,
        "unit": root.unit,
        "program": program.name,
        "volume": {
            "name": volume.name,
            "uuid": uuid,
            "generation": core.store.generation,
            "unit": root.unit,
            "width": root.width or len(core.members),
            "program": described,
            "created_ns": volume.created_ns,
            "metadata": os.fspath(core.store.path),
        },
        "programs": core.programs.describe(),
        "read_only": core.read_only,
        "members": list(_members(core)),
        "space": space_of(core),
        "block_size": BLOCK,
        "warnings": [
            *core.problems,
            *core.programs.warnings(),
            *(w for m in core.members for w in m.warnings),
        ],
    }


def _members(core: Core) -> Iterator[dict[str, Any]]:
    failed = core.io.failed()
    for m in core.members:
        yield {
            "index": m.index,
            "id": m.id,
            "path": os.fspath(m.path.absolute()),
            "uuid": str(m.uuid),
            "size": m.data_size,
            "used": core.space.used(m.id),
            "kind": m.kind,
            "memory_backed": m.memory_backed,
            "io_mode": core.io.mode_name(m.id),
            "status": "flush failed" if m.id in failed else "ok",
        }


def statistics(core: Core, points: Points) -> dict[str, Any]:
    """Return the control plane's counters; durations in ns, sizes in bytes."""
    return {
        "cache": asdict(core.cache.statistics()),
        "places": asdict(core.places.statistics()),
        "inodes": {"in_table": len(core.table), "evictions": core.table.evictions},
        "slow_path": {"lookups": core.slow.lookups},
        "mapper": asdict(core.mapper.counters),
        "answers": asdict(core.engine.counters),
        "programs": {
            **asdict(core.programs.counters),
            "counters": core.ends.describe(),
            "hints": core.hints.describe(),
        },
        "points": asdict(points.counters),
        "members": [
            {
                "index": m.index,
                "id": m.id,
                "path": os.fspath(m.path.absolute()),
                **asdict(core.io.counters()[m.id]),
            }
            for m in core.members
        ],
        "space": space_of(core),
    }
