# SPDX-License-Identifier: MIT
"""What must be true of a control plane at rest: space, marks and store agree."""

from iomapd.control.freespace import Doubts, rebuild
from iomapd.meta.check_space import Usage, check_space
from iomapd.meta.scan import Scan


async def assert_sound(control):
    """After a point: the store is clean, free space is what no extent owns, nothing is held."""
    await control.points.make()
    core = control.core
    scan = Scan(core.store)
    found = [*check_space(scan, Usage()), *scan.findings()]
    assert [finding.message for finding in found] == []
    doubts = Doubts(called=core.store.names.path)
    space = rebuild(core.data_size_of, core.store.space.owned(doubts.add), doubts)
    assert doubts.sentences == []
    assert core.space.held == 0
    assert {m: list(s) for m, s in core.space.members.items()} == {
        m: list(s) for m, s in space.members.items()
    }


def allocated(control, inode):
    return sum(e.length for e in control.core.store.space.iter_extents(inode.ino))
