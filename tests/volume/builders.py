# SPDX-License-Identifier: MIT
"""Volumes for tests: sparse files with superblocks, as create leaves them, and no store."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID, uuid4

from iomapd.volume.identity import MemberIdentity, set_digest
from iomapd.volume.member import open_members
from iomapd.volume.superblock import (
    BACKUP_COPY,
    DATA_OFFSET,
    FIRST_COPY,
    Superblock,
    encode,
)

SIZE = 4 << 20
DATA_SIZE = SIZE - DATA_OFFSET - 4096


@dataclass
class Built:
    """A volume on files: what the layout file and the store would say of it."""

    directory: Path
    uuid: UUID
    paths: list[Path]
    identities: list[MemberIdentity]
    generations: tuple[int, int] = (1, 1)

    def superblock(self, index, **changes):
        """The superblock of member *index*, with *changes*."""
        plain = Superblock(
            volume=self.uuid,
            member=self.identities[index],
            nr_members=len(self.identities),
            generation=1,
            created_ns=1_700_000_000_000_000_000,
            set_digest=set_digest(self.uuid, self.identities),
        )
        return replace(plain, **changes)

    def put(self, index, **changes):
        """Write both copies of member *index*."""
        write_copies(self.paths[index], self.superblock(index, **changes))

    def open(self, candidates=None, **options):
        """Open the members as a mount would."""
        arguments = {
            "expected": self.identities, "volume_uuid": self.uuid,
            "generations": self.generations, "read_only": False, "mountpoint": None,
        }  # fmt: skip
        return open_members(self.paths if candidates is None else candidates,
                            **{**arguments, **options})  # fmt: skip


def build(directory, nr_members=3, size=SIZE):
    """Make a volume of *nr_members* sparse files in *directory*."""
    identities = [
        MemberIdentity(i + 1, i, uuid4(), DATA_OFFSET, size - DATA_OFFSET - 4096)
        for i in range(nr_members)
    ]
    paths = [directory / f"m{i}.img" for i in range(nr_members)]
    built = Built(directory, uuid4(), paths, identities)
    for index, path in enumerate(paths):
        path.touch()
        with path.open("r+b") as file:
            file.truncate(size)
        built.put(index)
    return built


def write_copies(path, superblock):
    """Write both copies to where they belong."""
    with Path(path).open("r+b") as file:
        for copy, addr in ((FIRST_COPY, 0), (BACKUP_COPY, superblock.member.backup)):
            file.seek(addr)
            file.write(encode(superblock, copy))


def flip(path, addr, mask=0xFF):
    """Flip bits of the byte at *addr*."""
    with Path(path).open("r+b") as file:
        file.seek(addr)
        byte = file.read(1)[0]
        file.seek(addr)
        file.write(bytes([byte ^ mask]))
