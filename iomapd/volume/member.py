# SPDX-License-Identifier: MIT
"""Members of a volume, opened and checked: nothing is mounted on a guess.

What is asked of every member, in this order: it can be held alone; it is not
another listed member under a second name; it does not lie inside the mountpoint;
one copy of its superblock is whole and of a known format; it is of this volume
and expected here; its geometry and member set are the store's; its generation is
one the store knows; it is as large as it was; it is no clone; and, when all are
there, no loop device or swap uses it besides us.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from iomapd.errors import MemberMissingError, SuperblockError
from iomapd.volume.copies import Found, read_superblock, write_superblock
from iomapd.volume.device import Device, open_device, refuse_inside, refuse_shared
from iomapd.volume.expectation import Expectation
from iomapd.volume.identity import MemberIdentity
from iomapd.volume.search import find_moved
from iomapd.volume.superblock import FIRST_COPY, Superblock

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path
    from typing import Literal
    from uuid import UUID

__all__ = ["Member", "MemberIdentity", "open_members", "write_generation"]


@dataclass(slots=True)
class Member:
    """A member that passed every check.

    Attributes:
        id: member id, what extents name.
        index: place in the volume.
        uuid: what it is found by.
        path: the name it was opened by.
        data_offset: where the data area begins, bytes.
        data_size: bytes.
        memory_backed: its bytes rest in memory, no disk is involved.
        device: what is open and held.
        superblock: as read, or as last written.
        served: the copy that served; it is replaced last.
        warnings: one-line findings, for the log and for ``info``.
    """

    id: int
    index: int
    uuid: UUID
    path: Path
    data_offset: int
    data_size: int
    memory_backed: bool
    device: Device
    superblock: Superblock
    served: int
    warnings: list[str]

    @property
    def fd(self) -> int:
        """Descriptor for member I/O, O_RDWR or O_RDONLY; it holds the exclusion."""
        return self.device.fd

    @property
    def kind(self) -> Literal["file", "block"]:
        """What the member is: a regular file or a block device."""
        return self.device.kind

    @property
    def logical_sector(self) -> int:
        """Logical sector size, bytes; 512 for files."""
        return self.device.logical_sector

    def close(self) -> None:
        """Give the member up; may be called again."""
        self.device.close()


def open_members(
    candidates: Sequence[Path],
    expected: Sequence[MemberIdentity],
    volume_uuid: UUID,
    generations: tuple[int, int],
    read_only: bool,
    mountpoint: Path | None,
    wait: float = 0.0,
    hints: Iterable[Path] = (),
) -> list[Member]:
    """Open the members of a volume, each held against every other user.

    Args:
        candidates: what the layout file lists; each must be a member, or be absent.
        expected: who the store says the members are.
        volume_uuid: the store's volume.
        generations: the store's (settled, pending) generations.
        read_only: open for reading only.
        mountpoint: directory that must not hold a member; None: no mount is meant.
        wait: seconds to wait for another holder to finish.
        hints: files and directories to look at while a member is missing, such as
            where it was last seen; the candidates' directories, and for devices
            all block devices, are looked at too.

    Returns:
        The members in index order.

    Raises:
        MemberMissingError, MemberBusyError, SuperblockError, MemberError: naming
            the member, what was found and the rule; nothing stays open.
        StoreStaleError: a member is of a later mount than the store.
    """
    expectation = Expectation.of(volume_uuid, expected, generations, read_only)
    muster = _Muster(expectation, mountpoint, time.monotonic() + wait)
    try:
        for path in candidates:
            muster.take_listed(path)
        if muster.missing():
            muster.look_around(candidates, hints)
        return muster.result()
    except BaseException:
        muster.close()
        raise


def write_generation(member: Member, generation: int) -> None:
    """Durably write *generation* into both superblock copies of a member.

    Also mends a damaged copy, since both are written whole.

    Raises:
        MemberError: a copy could not be written or flushed; the other one is whole.
    """
    superblock = replace(member.superblock, generation=generation)
    write_superblock(member.fd, member.path, superblock, member.served)
    member.superblock = superblock
    member.served = FIRST_COPY


class _Muster:
    """Who is there so far; everything is closed again unless `result` is reached."""

    def __init__(self, expectation: Expectation, mountpoint: Path | None, deadline: float) -> None:
        self._expectation = expectation
        self._mountpoint = mountpoint
        self._deadline = deadline
        self._backups = sorted({m.backup for m in expectation.members})
        self._devices: list[Device] = []
        self._members: dict[UUID, Member] = {}
        self._absent: list[Path] = []

    def close(self) -> None:
        for device in self._devices:
            device.close()

    def missing(self) -> list[MemberIdentity]:
        return [m for m in self._expectation.members if m.uuid not in self._members]

    def result(self) -> list[Member]:
        if missing := self.missing():
            m = missing[0]
            absent = f" (not there: {', '.join(map(str, self._absent))})" if self._absent else ""
            raise MemberMissingError(
                f"member {m.index}, UUID {m.uuid}, is missing{absent}; every member must be present"
            )
        # Last, so that a loop device over another member is called by that name.
        for device in self._devices:
            refuse_shared(device)
        return sorted(self._members.values(), key=lambda m: m.index)

    def take_listed(self, path: Path) -> None:
        """Take a path that the layout file lists: it must be good, unless nothing is there."""
        try:
            self._take(path)
        except MemberMissingError:
            self._absent.append(path)

    def look_around(self, candidates: Sequence[Path], hints: Iterable[Path]) -> None:
        """Find missing members by their UUIDs; the search goes on to the end to see clones."""
        wanted = {m.uuid for m in self.missing()}
        for path, superblock in find_moved(candidates, hints, self._backups):
            if superblock.volume == self._expectation.volume and superblock.member.uuid in wanted:
                index = superblock.member.index
                self._take(path).warnings.append(f"{path}: member {index} was found here by UUID")

    def _take(self, path: Path) -> Member:
        device = open_device(
            path,
            read_only=self._expectation.read_only,
            deadline=self._deadline,
            others=self._devices,
        )
        self._devices.append(device)
        if self._mountpoint is not None:
            refuse_inside(path, self._mountpoint)
        found = read_superblock(device.fd, path, device.size, self._backups)
        if found is None:
            raise SuperblockError(f"{path}: carries no iomapd superblock; every listed member must")
        self._expectation.check(path, found.superblock, device.size)
        return self._admit(device, found)

    def _admit(self, device: Device, found: Found) -> Member:
        identity = found.superblock.member
        if twin := self._members.get(identity.uuid):
            raise SuperblockError(
                f"{device.path}: is a clone of {twin.path}: both carry member UUID {twin.uuid}; "
                "a member exists once, take one of them away"
            )
        member = self._members[identity.uuid] = Member(
            id=identity.id,
            index=identity.index,
            uuid=identity.uuid,
            path=device.path,
            data_offset=identity.data_offset,
            data_size=identity.data_size,
            memory_backed=device.resting.in_memory,
            device=device,
            superblock=found.superblock,
            served=found.served,
            warnings=list(found.warnings),
        )
        return member
