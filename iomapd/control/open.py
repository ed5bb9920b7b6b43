# SPDX-License-Identifier: MIT
"""Opening a volume: layout file, store and members are introduced to each other.

After create the store is the authority for unit, program, params and members;
the layout file only locates them.  A contradiction is refused with the command
that would change what the store says.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from iomapd.meta.check_header import refuse_unsound
from iomapd.meta.store import Store
from iomapd.volume.authority import Stored, refuse_contradiction
from iomapd.volume.member import MemberIdentity, open_members

if TYPE_CHECKING:
    from iomapd.volume.layout_file import LayoutFile
    from iomapd.volume.member import Member


def open_volume(
    layout: LayoutFile, *, read_only: bool, mountpoint: Path | None, wait: float = 0.0
) -> tuple[Store, list[Member]]:
    """Open store and members of the volume that *layout* locates; all held.

    Args:
        layout: the parsed layout file.
        read_only: nothing will be written.
        mountpoint: must not hold a member; None when none is meant.
        wait: seconds to wait for another holder to finish.

    Raises:
        IomapdError: one line; nothing stays open.
    """
    store = Store.open(layout.metadata, read_only=read_only, wait=wait)
    try:
        refuse_unsound(store)
        refuse_contradiction(layout, stored_facts(store))
        expected = [
            MemberIdentity(m.id, m.index, m.uuid, m.data_offset, m.data_size) for m in store.members
        ]
        members = open_members(
            [spec.path for spec in layout.members],
            expected,
            store.volume.uuid,
            (store.generation, store.pending),
            read_only,
            mountpoint,
            wait,
            hints=[Path(m.path) for m in store.members],
        )
    except BaseException:
        store.close()
        raise
    return store, members


def stored_facts(store: Store) -> Stored:
    """Return what the store says of the volume, to hold a layout file against."""
    row = store.layouts()[store.root_layout]
    program = store.programs()[row.program]
    return Stored(
        store.volume.name, row.unit, program.name, program.source, row.params, len(store.members)
    )
