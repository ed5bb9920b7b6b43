# SPDX-License-Identifier: MIT
"""What the parts of the control plane share: one mount's state, and one operation.

Core         store, members, inode table, extent cache, free space, points
Core.operation()   one metadata operation: one transaction, applied to memory
                   only after it has committed
"""

from __future__ import annotations

import errno
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from iomapd.cache.board import SlotBoard
from iomapd.cache.extents import ExtentCache, PlaceCache
from iomapd.cache.inodes import InodeTable
from iomapd.cache.table import SharedTable
from iomapd.control.ends import Ends
from iomapd.control.freespace import Doubts, rebuild
from iomapd.control.hints import HintFollower
from iomapd.control.mappers import CachedMapper, StripedMapper, UpcallMapper
from iomapd.control.marks import Marks
from iomapd.control.member_io import MemberIO
from iomapd.control.policy import Maker
from iomapd.control.programs import Programs
from iomapd.control.publish import Publisher
from iomapd.control.slots import Gate
from iomapd.control.slowpath import SlowPath
from iomapd.dataplane.engine import MapEngine
from iomapd.meta.records import InodeRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from iomapd.cache.inode import Inode
    from iomapd.control.freespace import Space
    from iomapd.control.mappers import Mapper
    from iomapd.meta.store import Store
    from iomapd.volume.member import Member


CAPABILITY: Final = b"security.capability"
MEMBER_BITS: Final = 63  # of a signed word


def no_entry(ino: int) -> OSError:
    """Return the error for an inode that does not exist (any more)."""
    return OSError(errno.ESTALE, f"inode {ino} does not exist")


def stored_record(inode: Inode) -> InodeRecord:
    """Return the inode as the store may hold it: with the size that is durable."""
    return InodeRecord(
        inode.ino, inode.mode, inode.uid, inode.gid, inode.nlink, inode.rdev, inode.stored_size,
        inode.atime_ns, inode.mtime_ns, inode.ctime_ns, inode.btime_ns, inode.layout,
    )  # fmt: skip


class Operation:
    """Collects what one metadata operation changes; see `Core.operation`."""

    def __init__(self) -> None:
        self.changes: list[tuple[Inode, dict[str, Any]]] = []
        self.held: list[Space] = []
        self._follow: list[Callable[[], object]] = []

    def then(self, follow: Callable[[], object]) -> None:
        """Let memory *follow* once all of it has committed."""
        self._follow.append(follow)

    def follow(self) -> None:
        """The operation has committed: let memory follow."""
        for follow in self._follow:
            follow()

    def change(self, inode: Inode, **fields: Any) -> None:
        """Set attributes of *inode*; in the store now, in memory after the commit."""
        for known, earlier in self.changes:
            if known is inode:
                earlier.update(fields)
                return
        self.changes.append((inode, fields))


class Core:
    """The state of one mount that the control plane's parts share.

    Attributes:
        store: the metadata store.
        members: in index order.
        shared: entries that lanes see; board: the lanes' slots.
        table: inodes in use; gate: lets requests in to them.
        cache: extents already known.
        places: member-level records, kept by the strategy ``cache``.
        marks: what is written; publisher: shows lanes what is known.
        space: free space; problems: sentences about extents that overlap.
        slow: range look-ups; maker: makes extents; io: member I/O.
        programs: mapping programs; strategy: its name; mapper: the strategy, see `mappers`;
            upcalls: answers single mappings; hints: follows those of programs.
        ends: tells programs how requests ended.
        read_only: nothing may be written.
        unflushed: inodes whose committed changes may still be lost with the store's log.
    """

    def __init__(
        self,
        store: Store,
        members: Sequence[Member],
        *,
        read_only: bool,
        mapper: str,
        shared: SharedTable | None = None,
        board: SlotBoard | None = None,
        modes: Mapping[int, int] | None = None,
    ) -> None:
        self.store = store
        self.members = list(members)
        self.read_only = read_only
        self.unflushed: set[int] = set()
        self.programs = Programs(store, built_in=mapper == "record")
        self.layouts = self.programs.layouts
        self._index_of = {m.id: m.index for m in self.members}
        self.data_size_of = {m.id: m.data_size for m in self.members}
        self.shared = shared or SharedTable.private()
        self.board = board or SlotBoard()
        self.table = InodeTable(store.names.inode, self.shared, self.board)
        self.gate = Gate(self.shared, self.board)
        self.places = PlaceCache()
        self.cache = ExtentCache(follower=self.places)
        doubts = Doubts(called=store.names.path)
        self.space = rebuild(self.data_size_of, store.space.owned(doubts.add), doubts)
        self.problems = doubts.sentences
        self.slow = SlowPath(
            self.cache, store.space, self.data_size_of, self.programs.encode, doubts.contested
        )
        self.marks = Marks(self.table, self.shared, self.slow, store.space)
        self.publisher = Publisher(self.table, self.shared, self.board, self.cache, self.marks)
        self.engine = MapEngine()
        self.ends = Ends(self.programs, self.slow)
        self.upcalls = UpcallMapper(self.slow, self.engine, self.data_size_of)
        self.hints = HintFollower(
            self.programs, self.engine, self.places, self.publisher.drop_places
        )
        self.strategy = mapper
        self.mapper = self._mapper(mapper)
        self.maker = Maker(self.space, [m.id for m in self.members], self.programs)
        self.io = MemberIO(self.members, modes)

    def _mapper(self, name: str) -> Mapper:
        if name in ("record", "program"):
            return StripedMapper(self.slow, self.engine)
        if name == "upcall":
            return self.upcalls
        return CachedMapper(self.upcalls, self.places, self.hints)

    def inode(self, ino: int) -> Inode:
        """Return the inode.

        Raises:
            OSError: ESTALE, there is none.
        """
        inode = self.table.get(ino)
        if inode is None:
            raise no_entry(ino)
        return inode

    def learn_capability(self, inode: Inode) -> bool:
        """Return whether *inode* has file capabilities, asked of the store once."""
        if inode.has_capability is None:
            inode.has_capability = self.store.names.xattr(inode.ino, CAPABILITY) is not None
        return inode.has_capability

    def bit_of(self, member: int) -> int:
        """Return the bit of a member id in `Inode.touched`; from the 64th on they share one."""
        return 1 << min(self._index_of[member], MEMBER_BITS - 1)

    def members_of(self, bits: int) -> set[int]:
        """Return the ids of the members that *bits* of `Inode.touched` stand for."""
        return {member.id for member in self.members if bits & self.bit_of(member.id)}

    @contextmanager
    def operation(self) -> Iterator[Operation]:
        """Run one metadata operation as one transaction.

        What the body writes through ``store`` and what it `Operation.change`s
        commit together; memory follows only after the commit, so an operation
        that fails has not happened.

        Raises:
            OSError: EROFS on a read-only mount.
            StoreError: the transaction failed.
        """
        if self.read_only:
            raise OSError(errno.EROFS, "the mount is read-only")
        op = Operation()
        with self.store.transaction():
            yield op
            for inode, fields in op.changes:
                self.store.names.update_inode(replace(stored_record(inode), **fields))
        for inode, fields in op.changes:
            self.unflushed.add(inode.ino)
            for name, value in fields.items():
                setattr(inode, "stored_size" if name == "size" else name, value)
        self.space.hold(op.held)
        op.follow()


def now_ns() -> int:
    """Return the time of day, ns since the epoch.

    The clock of the lanes, too: times never run backwards.  It is the fine one, since two changes
    within a tick of the coarse one must be told apart (make(1); Linux 6.13's multigrain times).
    """
    return time.time_ns()
