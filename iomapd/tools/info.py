# SPDX-License-Identifier: MIT
"""What a volume is: asked from its server when it is mounted, read from store and members if not.

Looking at members takes no lock and needs no volume in order: each gets a
status of its own, so that a broken volume can be looked at too.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iomapd.abi.mountinfo import find_mount
from iomapd.errors import IomapdError, MountError, StoreBusyError
from iomapd.meta.check_header import refuse_unsound
from iomapd.meta.store import Store
from iomapd.tools.admin import request_mount, served_mounts
from iomapd.volume.copies import read_superblock
from iomapd.volume.expectation import Expectation
from iomapd.volume.identity import MemberIdentity
from iomapd.volume.layout_file import find_layout_or_member
from iomapd.volume.search import find_moved, peek

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iomapd.abi.mountinfo import MountEntry
    from iomapd.meta.records import MemberRecord
    from iomapd.volume.layout_file import LayoutFile
    from iomapd.volume.superblock import Superblock


@dataclass(frozen=True, slots=True)
class Examined:
    """A path that should be a member: its superblock if one serves, and what is wrong."""

    path: Path
    kind: str
    superblock: Superblock | None
    status: str
    warnings: tuple[str, ...] = ()


def volume_info(where: Path) -> dict[str, Any]:
    """Return the body of ``iomapd info --json`` for a mountpoint, a layout file or a member.

    Raises:
        MountError: a mount is there, but no server of ours answers.
        LayoutFileError: neither a layout file nor a member that one lists.
        StoreError: the volume is not mounted and its store cannot be read.
    """
    entry = find_mount(where)
    if entry is not None:
        return request_mount(entry, "info")
    layout = find_layout_or_member(where)
    if (server := mount_of_layout(layout)) is not None:
        return request_mount(server, "info")
    try:
        with closing(Store.open(layout.metadata, read_only=True)) as store:
            return _resting_info(layout, store)
    except StoreBusyError as error:
        raise StoreBusyError(f"{error}; no mount of it is visible from here") from error


def mount_of(where: Path) -> MountEntry | None:
    """Return the mount of the volume that a layout file or a member names, or None.

    Raises:
        LayoutFileError: neither a layout file nor a member that one lists.
    """
    return mount_of_layout(find_layout_or_member(where))


def mount_of_layout(layout: LayoutFile) -> MountEntry | None:
    """Return the mount that serves the members of *layout*, or None."""
    uuids = {str(sb.volume) for spec in layout.members if (sb := peek(spec.path.resolve()))}
    for entry in served_mounts():
        try:
            if request_mount(entry, "info", timeout=5.0).get("uuid") in uuids:
                return entry
        except MountError:
            continue  # a server on its way out, or somebody else's socket
    return None


def examine_member(path: Path, expected: Expectation) -> Examined:
    """Look at what should be a member, without a lock, and say what is wrong with it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return Examined(path, "missing", None, f"missing: {error.strerror}")
    superblock: Superblock | None = None
    warnings: tuple[str, ...] = ()
    try:
        kind = "block" if stat.S_ISBLK(os.fstat(fd).st_mode) else "file"
        size = os.lseek(fd, 0, os.SEEK_END)
        found = read_superblock(fd, path, size, sorted({m.backup for m in expected.members}))
        if found is None:
            return Examined(path, kind, None, "carries no iomapd superblock")
        superblock, warnings = found.superblock, found.warnings
        expected.check(path, superblock, size)
    except (IomapdError, OSError) as error:
        return Examined(path, kind, superblock, str(error), warnings)
    finally:
        os.close(fd)
    return Examined(path, kind, superblock, "ok", warnings)


def _resting_info(layout: LayoutFile, store: Store) -> dict[str, Any]:
    """Return the body for a volume that nobody serves."""
    refuse_unsound(store)
    root = store.layouts()[store.root_layout]
    program = store.programs()[root.program]
    examined = _examine(layout, store)
    used: Counter[int] = Counter()
    for extent in store.iter_extents():
        for strip in extent.strips:
            used[strip.member] += extent.strip_alloc
    members = [
        _member(record, _of(record, examined), used[record.id], layout.io_mode)
        for record in store.members
    ]
    size = sum(record.data_size for record in store.members)
    described = {"name": program.name, "abi": program.abi, "sha256": program.sha256}
    uuid = str(store.volume.uuid)
    return {
        "schema": "iomapd.info",
        "version": 1,
        "mounted": False,
        "pid": None,
        "mountpoint": None,
        "uuid": uuid,
        "unit": root.unit,
        "program": program.name,
        "mapper": None,
        "data_plane": None,
        "cache": None,
        "volume": {
            "name": store.volume.name,
            "uuid": uuid,
            "generation": store.generation,
            "unit": root.unit,
            "width": root.width or len(members),
            "program": described,
            "created_ns": store.volume.created_ns,
            "metadata": str(layout.metadata),
        },
        "read_only": None,
        "members": members,
        "space": {"size": size, "used": used.total(), "free": size - used.total(), "held": 0},
        "block_size": store.volume.block_size,
        "transport": None,
        "warnings": _warnings(examined),
    }


def _examine(layout: LayoutFile, store: Store) -> list[Examined]:
    """Examine the listed members, then look for those that are elsewhere."""
    identities = [
        MemberIdentity(m.id, m.index, m.uuid, m.data_offset, m.data_size) for m in store.members
    ]
    generations = (store.generation, store.pending)
    expected = Expectation.of(store.volume.uuid, identities, generations, read_only=True)
    listed = [spec.path for spec in layout.members]
    examined = [examine_member(path, expected) for path in listed]
    here = {e.superblock.member.uuid for e in examined if e.superblock is not None}
    away = {m.uuid for m in identities} - here
    if away:
        hints = [Path(m.path) for m in store.members]
        backups = sorted({m.backup for m in identities})
        for path, superblock in find_moved(listed, hints, backups):
            if superblock.volume == store.volume.uuid and superblock.member.uuid in away:
                examined.append(examine_member(path, expected))
    return examined


def _of(record: MemberRecord, examined: Sequence[Examined]) -> Examined:
    """Return what was found of a member; a stand-in that says so when nothing was."""
    for found in examined:
        if found.superblock is not None and found.superblock.member.uuid == record.uuid:
            return found
    return Examined(Path(record.path), "missing", None, "missing")


def _member(record: MemberRecord, found: Examined, used: int, io_mode: str) -> dict[str, Any]:
    return {
        "index": record.index,
        "id": record.id,
        "path": str(found.path.absolute()),
        "uuid": str(record.uuid),
        "size": record.data_size,
        "used": used,
        "kind": found.kind,
        "io_mode": io_mode,
        "status": found.status,
    }


def _warnings(examined: Sequence[Examined]) -> list[str]:
    """Return what is odd about the paths looked at, each in one line that names the path."""
    warnings: list[str] = []
    for found in examined:
        warnings += found.warnings
        if found.status != "ok":
            # Some findings begin with the path already.
            named = found.status.startswith(str(found.path))
            warnings.append(found.status if named else f"{found.path}: {found.status}")
    return warnings
