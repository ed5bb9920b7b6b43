# SPDX-License-Identifier: MIT
"""One mount, assembled: volume, transport, pyfuse3, admin socket; start and end.

    open volume -> transport mounts -> pyfuse3 answers INIT -> ready
    unmount, SIGTERM or a fault -> requests finish -> last point -> exit

SIGTERM means unmount: the mount is detached at once and ends when its last user
has gone, or after `GRACE_S`, when the connection is aborted.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from typing import TYPE_CHECKING, Any, Final

import trio

from iomapd.control import report
from iomapd.control.admin import AdminServer
from iomapd.control.mount import ControlPlane
from iomapd.control.open import open_volume
from iomapd.errors import MemberBusyError, MountError, StoreBusyError
from iomapd.fuse.caching import Caching
from iomapd.fuse.operations import Operations
from iomapd.fuse.session import Session
from iomapd.fuse.side import Side
from iomapd.fuse.side_ops import SideOperations
from iomapd.server.access import choose
from iomapd.server.data_plane import DataPlane
from iomapd.server.holder import is_serving
from iomapd.server.runtime import runtime_dir, socket_name, table_path
from iomapd.server.stale import clear_stale
from iomapd.server.statistics import put_together
from iomapd.transport.handshake import Wishes
from iomapd.transport.mount import check_mountpoint
from iomapd.transport.splice import forgo_splice
from iomapd.transport.transport import UNMOUNTED, Transport
from iomapd.volume.layout_file import find_layout_or_member

if TYPE_CHECKING:
    from collections.abc import Callable

    from iomapd.meta.store import Store
    from iomapd.server.access import Access
    from iomapd.server.config import MountRequest
    from iomapd.volume.member import Member

log = logging.getLogger(__name__)

BUSY_WAIT_S: Final = 60.0
GRACE_S: Final = 5.0


class Mount:
    """One mount of one volume; `run` blocks until it has ended."""

    def __init__(self, request: MountRequest, ready: Callable[[dict[str, Any]], None]) -> None:
        request.check()
        self._request = request
        self._ready = ready
        self._started_ns = time.monotonic_ns()
        self._reason = ""
        self._ending: trio.Event | None = None
        self._token: trio.lowlevel.TrioToken | None = None

    def run(self) -> None:
        """Open, mount, serve, end.

        Raises:
            IomapdError: it could not start; nothing is left behind.
        """
        request = self._request
        clear_stale(request.mountpoint)
        # Before anything is opened, let alone written: a refused mount changes nothing.
        check_mountpoint(request.mountpoint)
        layout = find_layout_or_member(request.source)
        store, members = _open_patiently(layout, request)
        self._access = _access(store, members, request.io_mode(layout.io_mode))
        self._lanes = DataPlane(request.lanes, self._access, self._tell)
        control = ControlPlane(
            store,
            members,
            read_only=request.read_only,
            atime="noatime" not in request.options,
            mapper=request.mapper,
            modes=self._access.modes,
            table=table_path(store.volume.uuid),
            board=self._lanes.board,
        )
        self._control = control
        try:
            control.begin()
            self._lanes.connect(
                control,
                atime="noatime" not in request.options,
                kernel_times=request.writes_back,
            )
            self._transport = Transport(
                request.mountpoint,
                request.mount_options(store.volume.name),
                self._kernel_gone,
                wishes=Wishes(writeback=request.writes_back),
                lanes=self._lanes.lanes,
            )
            self._transport.start()
        except BaseException:
            trio.run(control.end)
            raise
        try:
            self._caching = Caching(request.cache, self._transport.agreed)
            self._operations = Operations(control, self._caching, dirsync=request.dirsync)
            self._side = Side(
                SideOperations(control, self._operations.handles, self._transport, self._caching),
                self._transport,
                self._operations.requests,
            )
            # In the thread that runs pyfuse3: libfuse would splice from the pair.
            forgo_splice()
            self._session = Session(self._operations, self._transport.server_path)
            trio.run(self._serve)
        finally:
            self._transport.stop()
            self._lanes.close()
            self._access.close()

    def _tell(self, text: str) -> None:
        """Tell the launcher what takes long."""
        log.info("%s", text)
        self._ready({"progress": text})

    # -- the life of the mount, in the event loop

    async def _serve(self) -> None:
        self._ending = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        if self._reason:
            self._ending.set()
        device = (0, self._transport.connection)
        self._admin = AdminServer(runtime_dir() / socket_name(device), self._handlers())
        self._admin.bind()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._admin.run)
                nursery.start_soon(self._control.points.run)
                nursery.start_soon(self._side.run)
                if (misses := self._lanes.misses(self._control)) is not None:
                    nursery.start_soon(misses.run)
                nursery.start_soon(self._obey_signals)
                nursery.start_soon(self._announce)
                nursery.start_soon(self._end_session)
                await self._session.run()
                nursery.cancel_scope.cancel()
        finally:
            # Gone before the last point: from here on the mount is ending.
            self._admin.close()
            with trio.CancelScope(shield=True):
                # The last write of a lane comes before the last point.
                await trio.to_thread.run_sync(self._transport.stop_lanes)
                await self._control.end()
            self._session.close()
        if self._reason not in ("", UNMOUNTED):
            raise MountError(f"{self._request.mountpoint}: {self._reason}")

    async def _announce(self) -> None:
        """Tell the launcher that the mount answers."""
        await trio.to_thread.run_sync(self._transport.ready.wait, abandon_on_cancel=True)
        for line in self._transport.tune():
            log.info("not tuned: %s", line)
        log.info("mounted %s, pid %d", self._request.mountpoint, os.getpid())
        self._ready({"pid": os.getpid(), "connection": self._transport.connection})

    def _kernel_gone(self, reason: str) -> None:
        """Called once by the transport, from a thread of its own."""
        self._reason = reason
        if self._token is None or self._ending is None:
            return  # the loop has not started; it looks at the reason when it does
        # A loop that has ended by itself needs no telling.
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._ending.set)

    async def _end_session(self) -> None:
        assert self._ending is not None
        await self._ending.wait()
        self._session.stop()

    async def _obey_signals(self) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            async for number in signals:
                log.info("%s: unmounting", signal.Signals(number).name)
                await trio.to_thread.run_sync(self._unmount)
                with trio.move_on_after(GRACE_S):
                    assert self._ending is not None
                    await self._ending.wait()
                    continue
                log.warning("still in use after %g s: aborting the connection", GRACE_S)
                await self._control.points.make()
                self._transport.abort()

    def _unmount(self) -> None:
        try:
            self._transport.unmount()
        except MountError:
            self._transport.unmount(lazy=True)

    # -- the admin socket

    def _handlers(self) -> dict[str, Any]:
        return {**self._control.handlers(), "info": self._info, "stats": self._stats}

    async def _info(self, _: dict[str, Any]) -> dict[str, Any]:
        limits = self._transport.limits
        volume = report.info(self._control.core)
        for member in volume["members"]:
            member["io_reason"] = self._access.reasons[member["id"]]
        return {
            **volume,
            "mounted": True,
            "pid": os.getpid(),
            "mountpoint": os.fspath(self._transport.mountpoint),
            "connection": self._transport.connection,
            "mapper": self._request.mapper,
            "data_plane": self._lanes.describe(),
            "cache": self._caching.describe(),
            "transport": {name: getattr(limits, name) for name in getattr(limits, "__slots__", ())},
        }

    async def _stats(self, _: dict[str, Any]) -> dict[str, Any]:
        return put_together(
            self._operations.requests,
            self._transport.statistics(),
            report.statistics(self._control.core, self._control.points),
            self._lanes,
            self._started_ns,
        )


def _open_patiently(layout: Any, request: MountRequest) -> tuple[Any, Any]:
    """Open the volume; wait for a holder that is only finishing."""
    deadline = time.monotonic() + BUSY_WAIT_S
    while True:
        try:
            return open_volume(
                layout, read_only=request.read_only, mountpoint=request.mountpoint, wait=0.2
            )
        except (StoreBusyError, MemberBusyError) as exc:
            if is_serving(str(exc)) or time.monotonic() > deadline:
                raise
            log.info("waiting: %s", exc)


def _access(store: Store, members: list[Member], wanted: str) -> Access:
    """Choose how members are accessed; what cannot be is closed again."""
    try:
        access = choose(members, wanted)
    except BaseException:
        store.close()
        for member in members:
            member.close()
        raise
    for sentence in access.sentences():
        log.info("io=%s: %s", wanted, sentence)
    return access


def serve(request: MountRequest, ready: Callable[[dict[str, Any]], None]) -> None:
    """Serve one mount until it ends; see `Mount.run`."""
    Mount(request, ready).run()
