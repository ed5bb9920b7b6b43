# SPDX-License-Identifier: MIT
"""What lies where create wants its store: nothing, a volume, or the remains of a create that died.

A create that died after writing the store is known by two facts together: the
store was never mounted, and its members do not all carry both copies of their
superblocks.  Such a volume holds no file, so doing it again loses nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from iomapd.errors import StoreBusyError, StoreError
from iomapd.meta.database import fsync_directory
from iomapd.meta.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from uuid import UUID

    from iomapd.tools.candidates import Candidate
    from iomapd.volume.superblock import Superblock

FIRST_GENERATION: Final = 1
"""Generation of a store and of members that were never mounted."""

STORE_SUFFIXES: Final = ("", "-wal", "-shm")


@dataclass(frozen=True, slots=True)
class OldStore:
    """What lies where the store is to be: nothing, or a store of *uuid*, or something else."""

    path: Path
    exists: bool
    uuid: UUID | None = None
    members: frozenset[UUID] = frozenset()
    was_mounted: bool = False

    def is_unfinished_of(self, superblock: Superblock) -> bool:
        """Tell whether *superblock* was written by a create of this store that never mounted."""
        return (
            not self.was_mounted
            and superblock.volume == self.uuid
            and superblock.member.uuid in self.members
            and superblock.generation == FIRST_GENERATION
        )

    def refuse_finished(self, candidates: Sequence[Candidate], force: bool) -> None:
        """Refuse to make a volume over one that is whole, or that holds files."""
        if not self.exists or force:
            return
        whole = {c.superblock.member.uuid for c in candidates if c.superblock and c.is_whole}
        if self.was_mounted or self.uuid is None or whole >= self.members:
            raise StoreError(
                f"{self.path}: is the store of a volume already; --force makes a new one "
                "and gives up the files of the old one"
            )


def look_at_store(path: Path, force: bool) -> OldStore:
    """Look at the place of the metadata store; changes nothing.

    Args:
        path: where the store is to be.
        force: something else than a store may lie there.

    Raises:
        StoreBusyError: its volume is mounted; not even force overrides that.
        StoreError: it cannot be written there, or something else is there.
    """
    if not path.parent.is_dir():
        raise StoreError(f"{path}: the directory of the metadata store does not exist")
    if not os.access(path.parent, os.W_OK):
        raise StoreError(f"{path}: the directory of the metadata store is not writable")
    if not path.exists():
        return OldStore(path, exists=False)
    try:
        store = Store.open(path, read_only=True)
    except StoreBusyError:
        raise
    except StoreError as exc:
        if force:
            return OldStore(path, exists=True)
        raise StoreError(f"{exc}; --force replaces it") from None
    try:
        return OldStore(
            path,
            exists=True,
            uuid=store.volume.uuid,
            members=frozenset(m.uuid for m in store.members),
            was_mounted=(store.generation, store.pending) != (FIRST_GENERATION,) * 2,
        )
    finally:
        store.close()


def remove_store(path: Path) -> None:
    """Remove a store durably, if there is one."""
    for suffix in STORE_SUFFIXES:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    fsync_directory(path.parent)
