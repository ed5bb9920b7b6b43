# SPDX-License-Identifier: MIT
"""Making a volume, so that dying at any instant loses nothing and can be repeated.

    1  look         every place is opened, held and examined; nothing is written
    2  images       files that are to be made are made and allocated
    3  layout file  if it is ours to write
    4  wipe         what was found and may go: superblocks of others, signatures
    5  store        an old one removed, the new one written aside, made durable, renamed
    6  superblocks  backup, flush, first copy, flush; member after member

The store comes before the superblocks: a member that names a volume always has
a store that knows it.  A create that died between 5 and 6 is known by a store that
was never mounted and members that do not all carry its superblock; it is undone
in the order 4, 5 (so that it stays recognisable), then done again.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from iomapd.abi import PROGRAM_ABI
from iomapd.abi.shipped import shipped_dir
from iomapd.geometry.ranges import round_up
from iomapd.meta.database import fsync_directory
from iomapd.meta.records import LayoutRecord, MemberRecord, ProgramRecord, VolumeRecord
from iomapd.meta.store import create_store
from iomapd.tools.candidates import Candidate, examine
from iomapd.tools.image_file import make_image
from iomapd.tools.old_store import FIRST_GENERATION, look_at_store, remove_store
from iomapd.volume.copies import end_of, wipe_superblock, write_superblock
from iomapd.volume.device import open_device
from iomapd.volume.identity import MemberIdentity, set_digest
from iomapd.volume.program_source import ProgramSource, bind_params, read_program
from iomapd.volume.signatures import wipe_signatures
from iomapd.volume.superblock import DATA_OFFSET, FIRST_COPY, Superblock

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from iomapd.tools.progress import Progress
    from iomapd.volume.layout_file import LayoutFile

STRIP_MIN: Final = 1 << 20
STRIP_MAX: Final = 1 << 30
"""Bounds of a strip in the first layout row, bytes; rounded up to whole units."""


@dataclass(frozen=True, slots=True)
class CreatedMember:
    """A member as create left it, or would; sizes in bytes."""

    index: int
    path: Path
    size: int
    data_size: int
    is_made: bool
    overwritten: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CreateReport:
    """What create did, or would do; *repeated*: the remains of an interrupted one were found."""

    name: str
    uuid: UUID
    unit: int
    program: str
    layout: Path
    store: Path
    members: tuple[CreatedMember, ...]
    repeated: bool
    dry_run: bool

    @property
    def capacity(self) -> int:
        """Bytes of all data areas."""
        return sum(member.data_size for member in self.members)


def create_volume(
    layout: LayoutFile,
    *,
    force: bool = False,
    dry_run: bool = False,
    programs: Path | None = None,
    layout_text: str | None = None,
    progress: Progress | None = None,
) -> CreateReport:
    """Make the volume that *layout* describes.

    Args:
        layout: the layout file.
        force: overwrite file systems, other volumes' members, and a store that is there.
        dry_run: look and report; write nothing.
        programs: directory of shipped programs; the package's own by default.
        layout_text: written to ``layout.path`` on the way, if that file is not there.
        progress: told about the parts that take long.

    Returns:
        What was made.

    Raises:
        IomapdError: one line; up to step 3 everything is then as it was.
    """
    report_progress = progress or _silent
    program = read_program(
        layout.program, layout.path.absolute().parent, programs or shipped_dir("programs")
    )
    params = bind_params(program, layout.params, layout.place("volume", "params"))
    old = look_at_store(layout.metadata, force)
    with ExitStack() as stack:
        candidates = examine(layout, force=force, ours=old.is_unfinished_of)
        for candidate in candidates:
            stack.callback(candidate.close)
        old.refuse_finished(candidates, force)
        plan = _Plan(layout, program, params, candidates)
        if not dry_run:
            plan.make_images(report_progress)
            if layout_text is not None:
                _write_layout(layout.path, layout_text)
            plan.wipe()
            remove_store(layout.metadata)
            plan.write(report_progress)
        return plan.report(repeated=old.uuid is not None and not force, dry_run=dry_run)


def _silent(what: str, done: int, total: int) -> None:
    """Nobody watches."""


def _write_layout(path: Path, text: str) -> None:
    """Write the layout file aside and rename it: it is there whole or not at all."""
    if path.exists() and path.read_text() == text:
        return
    aside = path.with_name(f".{path.name}.new")
    with aside.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.rename(path)
    fsync_directory(path.parent)


class _Plan:
    """A volume about to be made: identities are drawn once, then written everywhere."""

    def __init__(
        self,
        layout: LayoutFile,
        program: ProgramSource,
        params: tuple[int, ...],
        candidates: list[Candidate],
    ) -> None:
        self._layout = layout
        self._program = program
        self._params = params
        self._candidates = candidates
        self._made: list[Path] = []
        self._uuid = uuid4()
        self._created_ns = time.time_ns()
        self._identities = [
            MemberIdentity(index + 1, index, uuid4(), DATA_OFFSET, end_of(c.size) - DATA_OFFSET)
            for index, c in enumerate(candidates)
        ]

    def make_images(self, progress: Progress) -> None:
        """Make and open the files that are missing; a failure takes all of them back."""
        try:
            for candidate in self._candidates:
                self._make_image(candidate, progress)
        except BaseException:
            self._take_back()
            raise

    def _make_image(self, candidate: Candidate, progress: Progress) -> None:
        spec, device = candidate.spec, candidate.device
        is_file = device is None or device.kind == "file"
        if is_file and spec.size is not None:
            made = make_image(spec.path, spec.size, sparse=spec.sparse, progress=progress)
            if made:
                self._made.append(spec.path)
        if device is None:
            candidate.device = open_device(spec.path, read_only=False)

    def _take_back(self) -> None:
        for path in self._made:
            path.unlink(missing_ok=True)
        for candidate in self._candidates:
            device = candidate.device
            if device is not None and device.kind == "file" and device.size == 0:
                os.ftruncate(device.fd, 0)

    def wipe(self) -> None:
        """Remove what was found and may go."""
        for candidate in self._candidates:
            fd = candidate.held.fd
            wipe_superblock(fd, candidate.path, candidate.wipe)
            if candidate.signatures:
                wipe_signatures(fd, candidate.path, candidate.signatures)

    def write(self, progress: Progress) -> None:
        """Write the store, then the superblocks."""
        layout, total = self._layout, len(self._candidates)
        progress("writing the metadata store", 0, total)
        create_store(
            layout.metadata,
            VolumeRecord(self._uuid, layout.name, self._created_ns),
            self._member_records(),
            ProgramRecord(
                1, self._program.name, PROGRAM_ABI, self._program.sha256, self._program.text
            ),
            LayoutRecord(
                id=1,
                unit=layout.unit,
                width=0,
                strip_min=round_up(STRIP_MIN, layout.unit),
                strip_max=round_up(STRIP_MAX, layout.unit),
                program=1,
                params=self._params,
            ),
            (os.getuid(), os.getgid()),
        )
        digest = set_digest(self._uuid, self._identities)
        for identity, candidate in zip(self._identities, self._candidates, strict=True):
            progress(f"writing superblocks of {candidate.path.name}", identity.index, total)
            superblock = Superblock(
                volume=self._uuid,
                member=identity,
                nr_members=total,
                generation=FIRST_GENERATION,
                created_ns=self._created_ns,
                set_digest=digest,
            )
            write_superblock(candidate.held.fd, candidate.path, superblock, FIRST_COPY)

    def report(self, *, repeated: bool, dry_run: bool) -> CreateReport:
        """Say what was made."""
        layout = self._layout
        return CreateReport(
            name=layout.name,
            uuid=self._uuid,
            unit=layout.unit,
            program=self._program.name,
            layout=layout.path,
            store=layout.metadata,
            members=tuple(
                CreatedMember(
                    index=identity.index,
                    path=candidate.path,
                    size=candidate.size,
                    data_size=identity.data_size,
                    is_made=candidate.path in self._made or candidate.device is None,
                    overwritten=candidate.data,
                )
                for identity, candidate in zip(self._identities, self._candidates, strict=True)
            ),
            repeated=repeated,
            dry_run=dry_run,
        )

    def _member_records(self) -> list[MemberRecord]:
        records = []
        for m, candidate in zip(self._identities, self._candidates, strict=True):
            path = os.path.abspath(candidate.path)  # noqa: PTH100  links are kept as they are
            sector = candidate.held.logical_sector
            records.append(
                MemberRecord(m.id, m.index, m.uuid, path, m.data_offset, m.data_size, sector)
            )
        return records
