# SPDX-License-Identifier: MIT
"""What the store expects of its members' superblocks, and how each contradiction is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from iomapd.errors import MemberError, StoreStaleError, SuperblockError
from iomapd.geometry.sizes import format_size
from iomapd.volume.identity import MemberIdentity, set_digest
from iomapd.volume.superblock import KNOWN_RO_COMPAT, Superblock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from uuid import UUID


@dataclass(frozen=True, slots=True)
class Expectation:
    """The store's side of the comparison.

    Attributes:
        volume: UUID of the volume.
        members: all members, in index order.
        generations: (settled, pending); a crash while mounting leaves members at
            either, so both are current.
        read_only: nothing will be written.
    """

    volume: UUID
    members: tuple[MemberIdentity, ...]
    generations: tuple[int, int]
    read_only: bool

    @classmethod
    def of(
        cls,
        volume: UUID,
        members: Sequence[MemberIdentity],
        generations: tuple[int, int],
        read_only: bool,
    ) -> Expectation:
        """Put the members in index order."""
        ordered = tuple(sorted(members, key=lambda m: m.index))
        return cls(volume, ordered, generations, read_only)

    def check(self, path: Path, superblock: Superblock, size: int) -> None:
        """Compare what *path* says about itself with what the store says.

        Args:
            path: the member, for messages.
            superblock: the copy that serves.
            size: size of the device now, bytes.

        Raises:
            SuperblockError: foreign, of another set, or stale.
            StoreStaleError: the store is the stale one.
            MemberError: the device is smaller than it was.
        """
        self._check_identity(path, superblock)
        self._check_generation(path, superblock.generation)
        needed = superblock.member.size_min
        if size < needed:
            raise MemberError(
                f"{path}: has {size} bytes, member {superblock.member.index} needs {needed} "
                f"({format_size(needed)}); a member must not shrink"
            )
        if superblock.ro_compat & ~KNOWN_RO_COMPAT and not self.read_only:
            raise SuperblockError(
                f"{path}: feature {superblock.ro_compat:#x} is of a newer iomapd, which allows "
                "this one to read only; mount with -o ro"
            )

    def _check_identity(self, path: Path, superblock: Superblock) -> None:
        if superblock.volume != self.volume:
            raise SuperblockError(
                f"{path}: is a member of volume {superblock.volume}; the store is of {self.volume}"
            )
        uuid = superblock.member.uuid
        known = next((m for m in self.members if m.uuid == uuid), None)
        if known is None:
            raise SuperblockError(f"{path}: member {uuid} is unknown to the store of its volume")
        if superblock.member != known:
            raise SuperblockError(
                f"{path}: says {_geometry(superblock.member)}; the store says {_geometry(known)}"
            )
        digest = set_digest(self.volume, self.members)
        if superblock.set_digest != digest or superblock.nr_members != len(self.members):
            raise SuperblockError(
                f"{path}: was made for another set of members than the store's "
                f"{len(self.members)}; digest {superblock.set_digest.hex()[:16]}, "
                f"the store's {digest.hex()[:16]}"
            )

    def _check_generation(self, path: Path, generation: int) -> None:
        settled, pending = self.generations
        if generation > pending:
            raise StoreStaleError(
                f"{path}: is of generation {generation}, the store of {settled}; a store older "
                "than its members would give their space away: bring the newest store back"
            )
        if generation not in self.generations:
            raise SuperblockError(
                f"{path}: is stale: of generation {generation}, the store of {settled}; "
                "an old copy of a member is no member"
            )


def _geometry(m: MemberIdentity) -> str:
    return f"id {m.id}, index {m.index}, {m.data_size} bytes of data at byte {m.data_offset}"
