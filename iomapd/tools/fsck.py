# SPDX-License-Identifier: MIT
"""Checking a volume: members, store, names, space, programs.  Nothing is changed.

The parts are checked in an order in which each can rely on those before it; a
store that cannot be read ends the check of the store, not that of the members.
All findings are told, not the first: whoever repairs wants to see the whole.

The store of a mounted volume is held by its server.  Asked for it, the server
makes everything durable and writes a copy, and the copy is checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from iomapd.control.open import stored_facts
from iomapd.errors import IomapdError, StoreBusyError, StoreError
from iomapd.meta.check_header import check_header, check_ids, check_programs
from iomapd.meta.check_names import check_names
from iomapd.meta.check_space import Usage, check_space
from iomapd.meta.findings import Finding
from iomapd.meta.integrity import integrity_faults
from iomapd.meta.scan import Scan
from iomapd.meta.store import Store
from iomapd.tools.admin import request_mount
from iomapd.tools.fsck_maps import check_maps
from iomapd.tools.info import examine_member, mount_of_layout
from iomapd.volume.authority import refuse_contradiction
from iomapd.volume.expectation import Expectation
from iomapd.volume.identity import MemberIdentity
from iomapd.volume.search import find_moved

if TYPE_CHECKING:
    from uuid import UUID

    from iomapd.tools.progress import Progress
    from iomapd.volume.layout_file import LayoutFile

STAGES = ("the store's file", "members", "layouts and programs", "names and space")

NR_PASSES: Final = 10
"""How often the checks of names and space read the rows of a store, about."""


@dataclass(slots=True)
class FsckReport:
    """What was checked and what was found; sizes in bytes."""

    name: str
    uuid: UUID
    mounted: bool
    findings: list[Finding] = field(default_factory=list)
    nr_inodes: int = 0
    usage: Usage = field(default_factory=Usage)
    size: int = 0

    @property
    def errors(self) -> list[Finding]:
        """Findings that a repair would be about."""
        return [f for f in self.findings if f.severity == "error"]

    def body(self) -> dict[str, Any]:
        """Return the body of ``iomapd fsck --json``."""
        used = sum(self.usage.used.values())
        return {
            "schema": "iomapd.fsck",
            "version": 1,
            "volume": {"name": self.name, "uuid": str(self.uuid)},
            "mounted": self.mounted,
            "clean": not self.errors,
            "findings": [
                {"check": f.check, "severity": f.severity, "path": f.path, "message": f.message}
                for f in self.findings
            ],
            "inodes": self.nr_inodes,
            "extents": self.usage.nr_extents,
            "space": {
                "size": self.size,
                "used": used,
                "free": self.size - used,
                "written": self.usage.written,
            },
        }


def check_volume(layout: LayoutFile, progress: Progress | None = None) -> FsckReport:
    """Check the volume that *layout* locates, mounted or not.

    Args:
        layout: its layout file.
        progress: told which stage runs.

    Raises:
        StoreBusyError: somebody holds the store, and it is no mount seen from here.
        StoreError, StoreMissingError: there is no store that could be checked.
        MountError: the server of the mount does not answer.
    """
    with _readable_store(layout) as (store, mounted):
        report = FsckReport(store.volume.name, store.volume.uuid, mounted)
        report.size = sum(member.data_size for member in store.members)
        tell = progress or (lambda what, done, total: None)
        stages = (
            _check_file(layout, store),
            _check_members(layout, store),
            _check_header(layout, store),
            _check_tree(store, report, tell),
        )
        for number, (what, stage) in enumerate(zip(STAGES, stages, strict=True)):
            tell(f"checking {what}", number, len(stages))
            report.findings.extend(stage)
        return report


@contextmanager
def _readable_store(layout: LayoutFile) -> Iterator[tuple[Store, bool]]:
    """Yield the store, or the copy that its server makes, and whether it is mounted."""
    try:
        store = Store.open(layout.metadata, read_only=True)
    except StoreBusyError:
        server = mount_of_layout(layout)
        if server is None:
            raise
        with TemporaryDirectory(prefix="iomapd-fsck-") as directory:
            copy = Path(directory) / layout.metadata.name
            request_mount(server, "store.copy", path=str(copy))
            with closing(Store.open(copy, read_only=True)) as store:
                yield store, True
    else:
        with closing(store):
            yield store, False


def _check_file(layout: LayoutFile, store: Store) -> Iterator[Finding]:
    for fault in integrity_faults(store):
        yield Finding("store", f"{layout.metadata}: {fault}")


def _check_members(layout: LayoutFile, store: Store) -> Iterator[Finding]:
    identities = [
        MemberIdentity(m.id, m.index, m.uuid, m.data_offset, m.data_size) for m in store.members
    ]
    generations = (store.generation, store.pending)
    expected = Expectation.of(store.volume.uuid, identities, generations, read_only=True)
    listed = [spec.path for spec in layout.members]
    holders: dict[UUID, Path] = {}
    for path in [*listed, *_moved(listed, store, identities)]:
        found = examine_member(path, expected)
        yield from (Finding("members", text, severity="warning") for text in found.warnings)
        if found.status != "ok":
            named = found.status.startswith(str(path))
            yield Finding("members", found.status if named else f"{path}: {found.status}")
        if found.superblock is not None:
            uuid = found.superblock.member.uuid
            if uuid in holders:
                yield Finding("members", f"{path}: is a clone of {holders[uuid]}")
            holders.setdefault(uuid, path)
    for m in identities:
        if m.uuid not in holders:
            yield Finding("members", f"member {m.index}, UUID {m.uuid}, was not found")


def _moved(listed: list[Path], store: Store, identities: list[MemberIdentity]) -> Iterator[Path]:
    """Places where members of this volume lie that the layout file does not list."""
    hints = [Path(m.path) for m in store.members]
    here = {path.resolve() for path in listed}
    if all(path.exists() for path in listed):
        return
    wanted = {m.uuid for m in identities}
    for path, superblock in find_moved(listed, hints, sorted({m.backup for m in identities})):
        if superblock.member.uuid in wanted and path.resolve() not in here:
            yield path


def _check_header(layout: LayoutFile, store: Store) -> Iterator[Finding]:
    try:
        found = [*check_header(store), *check_programs(store)]
        yield from found
        yield from check_ids(store)
        if not found:  # what the layout file says would be held against nonsense
            refuse_contradiction(layout, stored_facts(store))
    except StoreError as exc:
        yield Finding("store", f"{store.path}: {exc}")
    except IomapdError as exc:
        yield Finding("layout", str(exc))


def _check_tree(store: Store, report: FsckReport, progress: Progress) -> Iterator[Finding]:
    try:
        total = NR_PASSES * store.names.count_inodes()
        scan = Scan(store, lambda rows: progress("checking names and space", rows, total))
        report.nr_inodes = len(scan.modes)
        for check in (check_names(scan), check_space(scan, report.usage)):
            yield from check
        yield from scan.findings()
        yield from check_maps(scan)
    except StoreError as exc:
        yield Finding("store", f"{store.path}: {exc}; the check of names and space ended here")
