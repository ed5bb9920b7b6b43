# SPDX-License-Identifier: MIT
"""Who the members of a volume are: what the store and every superblock agree on."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from iomapd.abi.units import BLOCK

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

_HEAD: Final = struct.Struct("<16sII")
_ROW: Final = struct.Struct("<I16sqq")


@dataclass(frozen=True, slots=True)
class MemberIdentity:
    """Who a member is and where its data lies; *data_offset* and *data_size* are bytes."""

    id: int
    index: int
    uuid: UUID
    data_offset: int
    data_size: int

    @property
    def backup(self) -> int:
        """Address of the backup copy of the superblock, bytes: right behind the data."""
        return self.data_offset + self.data_size

    @property
    def size_min(self) -> int:
        """Bytes a device must have to hold this member."""
        return self.backup + BLOCK


def set_digest(volume: UUID, members: Sequence[MemberIdentity]) -> bytes:
    """Digest of the member set: who belongs to the volume, in which order and where.

    Covers the volume's UUID, the block size, and of each member in index order
    its id, UUID, data offset and data size.  Never the layout file's text: a
    comment or a moved path changes no member.
    """
    digest = hashlib.sha256(_HEAD.pack(volume.bytes, BLOCK, len(members)))
    for m in members:
        digest.update(_ROW.pack(m.id, m.uuid.bytes, m.data_offset, m.data_size))
    return digest.digest()
