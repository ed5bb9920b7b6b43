# SPDX-License-Identifier: MIT
"""The control plane of one mount, from its parts: begin, serve, end.

begin   enter a generation, delete orphans, trim speculation
run     durability points, until cancelled
end     delete orphans, trim, last point, close the store, give up the members
"""

from __future__ import annotations

import logging
import os
import stat
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from iomapd.cache.heritage import left_behind
from iomapd.cache.table import Identity, SharedTable
from iomapd.control import report
from iomapd.control.attributes import AttributeKeeper
from iomapd.control.copy import Copier
from iomapd.control.core import Core
from iomapd.control.exchange import Exchanger
from iomapd.control.files import Files
from iomapd.control.layouts import LayoutKeeper
from iomapd.control.migrate import STEP, Migrator
from iomapd.control.namespace import Namespace
from iomapd.control.points import Points
from iomapd.control.punch import Puncher
from iomapd.control.reserve import Reserver
from iomapd.control.room import Room
from iomapd.control.takeover import take_over
from iomapd.errors import IomapdError, UsageError
from iomapd.volume.member import write_generation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from iomapd.cache.board import SlotBoard
    from iomapd.cache.heritage import LeftInode
    from iomapd.cache.inode import Inode
    from iomapd.meta.store import Store
    from iomapd.volume.member import Member

log = logging.getLogger(__name__)


class ControlPlane:
    """Everything that may wait, of one mount.

    Args:
        store: open; this owns it from now on.
        members: open, in index order; this owns them from now on.
        read_only: write nothing.
        atime: raise access times, as relatime.
        mapper: the mapping strategy, see `mappers`.
        table: file of the inode table, which outlives a killed server; None: private memory.
        board: the lanes' slots, if there are lanes.
        modes: how members are accessed, by member id; see `MemberIO`.
    """

    def __init__(
        self,
        store: Store,
        members: Sequence[Member],
        *,
        read_only: bool,
        atime: bool = True,
        mapper: str = "program",
        table: Path | None = None,
        board: SlotBoard | None = None,
        modes: Mapping[int, int] | None = None,
    ) -> None:
        self._table = table
        self._left: list[LeftInode] = []
        shared = self._open_table(store, table, read_only=read_only) if table else None
        self.core = Core(
            *(store, members),
            read_only=read_only,
            mapper=mapper,
            shared=shared,
            board=board,
            modes=modes,
        )
        if self.core.problems and not read_only:
            for problem in self.core.problems:
                log.error("%s; the volume is mounted read-only", problem)
            self.core.read_only = True
        self.points = Points(self.core)
        self.room = Room(self.core, self.points)
        self.files = Files(self.core, self.points, self.room, atime=atime)
        self.puncher = Puncher(self.core, self.points, self.files)
        self.reserver = Reserver(self.core, self.points, self.room, self.files, self.puncher)
        self.copier = Copier(self.core, self.files)
        self.names = Namespace(self.core)
        self.attributes = AttributeKeeper(self.core)
        self.layouts = LayoutKeeper(self.core)
        self.exchanger = Exchanger(self.core)
        self.migrator = Migrator(self.core, self.points, self.room)

    def begin(self) -> None:
        """Enter the volume: generation, orphans, speculation; blocks, before serving."""
        core = self.core
        core.programs.load_live()
        if core.read_only:
            take_over(core, self._left, lambda inode, size: None)
            return
        generation = core.store.begin_generation()
        for member in core.members:
            write_generation(member, generation)
        take_over(core, self._left, self.files.shrink_now)
        if self._table is not None and core.shared.path is not None:
            # While the store knows both generations: at each instant one of the two is valid.
            core.shared.move_to(self._table)
        core.store.settle_generation()
        self._sweep()

    def _open_table(self, store: Store, path: Path, *, read_only: bool) -> SharedTable | None:
        """Read what is left behind, and make a table beside it; None where none can be made."""
        identity = Identity.of(store.volume.uuid)
        self._left = left_behind(path, identity, (store.generation, store.pending))
        if read_only:
            return None
        following = max(store.pending, store.generation + 1)
        try:
            return SharedTable.create(path.with_suffix(".new"), identity, following)
        except OSError as exc:
            log.warning(
                "%s: no inode table: %s; if this server is killed, data since the last "
                "durability point is lost", path, exc.strerror,
            )  # fmt: skip
            return None

    def _sweep(self) -> None:
        for ino in self.core.store.names.orphans():
            try:
                self.room.delete(self.core.inode(ino))
            except (IomapdError, OSError) as exc:
                log.error("inode %d, which no name leads to, is kept: %s", ino, exc)
        self.room.trim_all_quiet()

    async def end(self) -> None:
        """Make everything durable and let go; raises nothing, logs what failed."""
        core = self.core
        try:
            if not core.read_only:
                # An unmount sends no FORGETs: what is unlinked goes now.
                self._sweep()
                await self.points.make_now()
                core.shared.remove()
        except (IomapdError, OSError) as exc:
            log.error("at the end of the mount: %s", exc)
        finally:
            # The last close of the store moves its log into the database file.
            await trio.to_thread.run_sync(core.store.close)
            for member in core.members:
                member.close()

    # -- for fuse/

    async def forgotten(self, ino: int, count: int) -> None:
        """The kernel gave back *count* references; delete what nobody can reach."""
        inode = self.names.forget(ino, count)
        if inode is not None and not self.core.read_only:
            await self.delete(inode)

    async def delete(self, inode: Inode) -> None:
        """Delete an inode if no name leads to it and the kernel does not know it."""
        if inode.nlink or self.names.is_known(inode.ino):
            return
        async with self.core.gate.holding(inode):
            if not self.names.is_known(inode.ino) and inode.nlink == 0:
                self.room.delete(inode)

    async def settle_before_replacing(self, old: tuple[int, bytes], new: tuple[int, bytes]) -> None:
        """Make a point if renaming *old* onto *new* could lose both after a power cut.

        Programs that replace a file by rename without fsync expect the old or
        the new content (ext4's auto_da_alloc); without this the new name could
        be durable before the data.
        """
        names = self.core.store.names
        ino = names.find(*old)
        if ino is None or names.find(*new) is None:
            return
        inode = self.core.table.peek(ino)
        # Touched: blocks overwritten in place leave nothing else for a point to copy.
        if inode is not None and (inode.touched or self.points.is_pending(inode)):
            await self.points.make()

    async def closed(self, inode: Inode) -> None:
        """A handle was closed: trim what was made ahead of need at the last one."""
        inode.opens -= 1
        if not inode.opens and inode.ahead and not self.core.read_only:
            await self.room.trim(inode)

    # -- for the admin socket

    def handlers(self) -> dict[str, Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]]:
        """Return the admin requests the control plane answers."""
        return {
            "map": self._map,
            "layout.get": self._layout_get,
            "layout.set": self._layout_set,
            "migrate": self._migrate,
            "program.attach": self._attach,
            "program.replace": self._replace,
            "point": self._point,
            "store.copy": self._copy_store,
        }

    def _named(self, request: dict[str, Any]) -> Inode:
        if "ino" in request:
            return self.core.inode(int(request["ino"]))
        return self.core.inode(self.names.resolve(os.fsencode(str(request["path"]))))

    async def _map(self, request: dict[str, Any]) -> dict[str, Any]:
        inode = self._named(request)
        if not stat.S_ISREG(inode.mode):
            raise UsageError("only regular files have a mapping")
        # What the members hold must be what the map speaks of.
        await self.points.make()
        return report.map_file(self.core, inode)

    async def _layout_get(self, request: dict[str, Any]) -> dict[str, Any]:
        return self.layouts.describe(self._named(request))

    async def _layout_set(self, request: dict[str, Any]) -> dict[str, Any]:
        inode = self._named(request)
        changes = {k: v for k, v in request.items() if k not in ("ino", "path")}
        await self.layouts.set(inode, **changes)
        return self.layouts.describe(inode)

    async def _migrate(self, request: dict[str, Any]) -> dict[str, Any]:
        """Move one chunk of a file into the layout of a directory, by default of its own."""
        inode = self._named(request)
        directory = request.get("directory", self.core.store.names.parent_of(inode.ino))
        if directory is None:
            raise UsageError("the file has no name, hence no directory whose layout it could get")
        target = self.core.inode(int(directory)).layout
        pos, limit = int(request.get("pos", 0)), int(request.get("limit", STEP))
        return asdict(await self.migrator.step(inode, target, pos, limit))

    async def _attach(self, request: dict[str, Any]) -> dict[str, Any]:
        return await self.exchanger.attach(str(request["program"]), _text_in(request))

    async def _replace(self, request: dict[str, Any]) -> dict[str, Any]:
        old, new = str(request["old"]), str(request["program"])
        return await self.exchanger.replace(old, new, _text_in(request))

    async def _point(self, _: dict[str, Any]) -> dict[str, Any]:
        await self.points.make()
        return {}

    async def _copy_store(self, request: dict[str, Any]) -> dict[str, Any]:
        """Write a durable, consistent copy of the store; the asker removes it."""
        path = Path(str(request["path"]))
        if not path.is_absolute():
            raise UsageError(f"{path}: a copy of the store goes to an absolute path")
        await self.points.make()
        await trio.to_thread.run_sync(self.core.store.copy_to, path)
        return {"path": str(path)}


def _text_in(request: dict[str, Any]) -> str | None:
    """Return the text of a program that comes with a request."""
    source = request.get("source")
    return None if source is None else str(source)
