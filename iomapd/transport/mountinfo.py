# SPDX-License-Identifier: MIT
"""Finding mounts in /proc/self/mountinfo, without touching them: one of them may hang."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOUNTINFO: Final = Path("/proc/self/mountinfo")
_OCTAL: Final = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class MountEntry:
    """One line of mountinfo.

    Attributes:
        mountpoint: absolute path.
        major, minor: of the device; a FUSE connection's number is the minor.
        fstype: ``fuse`` or ``fuse.<subtype>``.
        source: what mount(8) shows first.
    """

    mountpoint: Path
    major: int
    minor: int
    fstype: str
    source: str


def mounts(table: bytes | None = None) -> Iterator[MountEntry]:
    """Yield every mount of this namespace, in the order of mounting.

    See proc_pid_mountinfo(5): id, parent, major:minor, root, mount point, options, optional
    fields, "-", type, source, options of the superblock.
    """
    for line in (table if table is not None else _MOUNTINFO.read_bytes()).splitlines():
        before, _, after = line.partition(b" - ")
        fields, (fstype, source, *_) = before.split(b" "), after.split(b" ")
        major, minor = fields[2].split(b":")
        yield MountEntry(
            Path(_unescaped(fields[4])), int(major), int(minor), _unescaped(fstype),
            _unescaped(source),
        )  # fmt: skip


def find_mount(mountpoint: Path, table: bytes | None = None) -> MountEntry | None:
    """Return the topmost mount on *mountpoint* (absolute, without links), or None."""
    found = None
    for entry in mounts(table):
        if entry.mountpoint == mountpoint:
            found = entry
    return found


def _unescaped(field: bytes) -> str:
    plain = _OCTAL.sub(lambda match: bytes([int(match[1], 8)]), field)
    return plain.decode(errors="surrogateescape")
