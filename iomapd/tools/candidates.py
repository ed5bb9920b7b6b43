# SPDX-License-Identifier: MIT
"""What create finds where members are to be: nothing yet, an empty device, or somebody's data.

Looking changes nothing.  Every device that is there is opened as it will be
used, held exclusively, and stays so until create is over: what was found empty
is still empty when it is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from iomapd.abi.units import BLOCK
from iomapd.errors import (
    LayoutFileError,
    MemberError,
    MemberMissingError,
    SuperblockError,
)
from iomapd.geometry.sizes import format_size
from iomapd.volume.copies import end_of, read_superblock
from iomapd.volume.device import open_device, refuse_shared
from iomapd.volume.search import is_in_dev
from iomapd.volume.signatures import find_signatures
from iomapd.volume.superblock import DATA_OFFSET, FIRST_ADDR

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from iomapd.volume.blkid import Signature
    from iomapd.volume.device import Device
    from iomapd.volume.layout_file import LayoutFile, MemberSpec
    from iomapd.volume.superblock import Superblock


@dataclass(slots=True)
class Candidate:
    """One future member.

    Attributes:
        spec: what the layout file says.
        size: bytes it has or will have.
        device: open and held; None while the image file is not made.
        superblock: what another volume left there.
        is_whole: both copies of it are good.
        signatures: what others left there.
        wipe: addresses of superblock copies that must go, bytes.
    """

    spec: MemberSpec
    size: int
    device: Device | None = None
    superblock: Superblock | None = None
    is_whole: bool = False
    signatures: tuple[Signature, ...] = ()
    wipe: tuple[int, ...] = ()

    @property
    def path(self) -> Path:
        """Where the member is, or will be."""
        return self.spec.path

    @property
    def held(self) -> Device:
        """The open device; only once it is there."""
        assert self.device is not None, f"{self.path} was not made"
        return self.device

    @property
    def data(self) -> tuple[str, ...]:
        """What is there of others, in words."""
        words = [f"{s.name} (at byte {s.addr})" for s in self.signatures]
        if self.superblock is not None:
            member = self.superblock.member.index
            words.append(f"member {member} of volume {self.superblock.volume}")
        elif self.wipe:
            words.append("a damaged or newer iomapd superblock")
        return tuple(words)

    def close(self) -> None:
        """Give the device up; may be called again."""
        if self.device is not None:
            self.device.close()
            self.device = None


def examine(
    layout: LayoutFile, *, force: bool, ours: Callable[[Superblock], bool]
) -> list[Candidate]:
    """Look at every place that the layout file lists.

    Args:
        layout: the layout file.
        force: data of others may be overwritten.  What is in use may not even then.
        ours: tells whether a superblock is the remains of this very create.

    Returns:
        Candidates in index order, for the caller to close.

    Raises:
        MemberError, LayoutFileError: naming the member, what was found, and the rule.
    """
    found: list[Candidate] = []
    try:
        for index, spec in enumerate(layout.members):
            others = [c.device for c in found if c.device is not None]
            found.append(_examine_one(layout.place("member", index), spec, others))
            _refuse_too_small(found[-1], layout.unit)
        for candidate in found:
            # After the loop above, which says better what a loop device over a member is.
            if candidate.device is not None:
                refuse_shared(candidate.device)
            if not force:
                _refuse_data(candidate, ours)
    except BaseException:
        for candidate in found:
            candidate.close()
        raise
    return found


def _examine_one(place: str, spec: MemberSpec, others: list[Device]) -> Candidate:
    try:
        device = open_device(spec.path, read_only=False, others=others)
    except MemberMissingError:
        return _planned(place, spec)
    try:
        return _describe(place, spec, device)
    except BaseException:
        device.close()
        raise


def _planned(place: str, spec: MemberSpec) -> Candidate:
    """A member that create is to make: only image files can be made."""
    if is_in_dev(spec.path):
        raise MemberMissingError(f"{place}: {spec.path}: no such device")
    if spec.size is None:
        raise MemberMissingError(
            f"{place}: {spec.path}: no such file; an image file that is to be made needs a size"
        )
    if not spec.path.parent.is_dir():
        raise MemberMissingError(f"{place}: {spec.path}: its directory does not exist")
    return Candidate(spec, spec.size)


def _describe(place: str, spec: MemberSpec, device: Device) -> Candidate:
    if device.kind == "block" and spec.size not in (None, device.size):
        raise LayoutFileError(
            f"{place}: {spec.path}: size = {spec.size}, but block devices keep their size: "
            f"{device.size} bytes; leave size out"
        )
    if device.kind == "file" and spec.size not in (None, device.size) and device.size:
        raise LayoutFileError(
            f"{place}: {spec.path}: size = {spec.size}, but the file has {device.size} bytes; "
            "files are neither cut nor grown: leave size out, or remove the file"
        )
    candidate = Candidate(spec, device.size or spec.size or 0, device)
    if device.size:
        candidate.signatures = tuple(find_signatures(device.fd, device.size))
        _look_for_superblock(candidate, device)
    return candidate


def _look_for_superblock(candidate: Candidate, device: Device) -> None:
    try:
        found = read_superblock(device.fd, device.path, device.size)
    except SuperblockError:
        # Damaged, or newer than this version: somebody's all the same.
        candidate.wipe = (FIRST_ADDR, end_of(device.size))
        return
    if found is not None:
        candidate.superblock = found.superblock
        candidate.is_whole = not found.warnings
        # The backup goes last: as long as it is there, the member is recognised.
        candidate.wipe = (FIRST_ADDR, found.superblock.member.backup)


def _refuse_too_small(candidate: Candidate, unit: int) -> None:
    needed = DATA_OFFSET + unit + BLOCK
    if candidate.size < needed:
        raise MemberError(
            f"{candidate.path}: has {candidate.size} bytes; a member has at least {needed}: "
            f"{format_size(DATA_OFFSET)} reserved, one unit of {format_size(unit)}, and "
            f"{format_size(BLOCK)} for the backup superblock"
        )


def _refuse_data(candidate: Candidate, ours: Callable[[Superblock], bool]) -> None:
    # Our own remains may go, but not what somebody put beside them since.
    mine = candidate.superblock is not None and ours(candidate.superblock)
    if candidate.data and not (mine and not candidate.signatures):
        found = ", ".join(candidate.data)
        raise MemberError(f"{candidate.path}: carries {found}; --force overwrites it")
