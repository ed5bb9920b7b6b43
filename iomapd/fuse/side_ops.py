# SPDX-License-Identifier: MIT
"""The operations that pyfuse3 has no handlers for: from a request's body to a reply's.

Each takes the mount and a request and returns the body of the reply; errors are raised, and
become errnos in `side`.  Permissions are the kernel's business here too.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

import trio

from iomapd.abi import fuse_side as abi
from iomapd.abi.fuse import (
    COPY_FILE_RANGE,
    COPY_FILE_RANGE_64,
    FALLOCATE,
    FOPEN_DIRECT_IO,
    FOPEN_PARALLEL_DIRECT_WRITES,
    LSEEK,
    NOTIFY_INVAL_INODE,
    STATX,
    TMPFILE,
)
from iomapd.abi.units import BLOCK
from iomapd.control import report
from iomapd.control.seek import seek_data, seek_hole

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from iomapd.abi.fuse_side import Request
    from iomapd.cache.inode import Inode
    from iomapd.control.mount import ControlPlane
    from iomapd.control.namespace import Attributes
    from iomapd.fuse.caching import Caching
    from iomapd.fuse.handles import Handle, Handles
    from iomapd.transport.transport import Transport

# Waiting for a notification to be obeyed takes no thread that its obedience may need.
_NOTIFIERS: Final = 4


class SideOperations:
    """The operations of one mount.

    Args:
        control: its control plane.
        handles: its open files.
        transport: notifies the kernel.
        caching: who caches what files hold.

    Attributes:
        table: name and handler by opcode.
    """

    def __init__(
        self, control: ControlPlane, handles: Handles, transport: Transport, caching: Caching
    ) -> None:
        self._control = control
        self._core = control.core
        self._handles = handles
        self._transport = transport
        self._caching = caching
        self._notifiers = trio.CapacityLimiter(_NOTIFIERS)
        self.table: dict[int, tuple[str, Callable[[Request], Awaitable[bytes]]]] = {
            FALLOCATE: ("fallocate", self.fallocate),
            LSEEK: ("lseek", self.lseek),
            COPY_FILE_RANGE: ("copy_file_range", self.copy_file_range),
            COPY_FILE_RANGE_64: ("copy_file_range", self.copy_file_range),
            TMPFILE: ("tmpfile", self.tmpfile),
            STATX: ("statx", self.statx),
        }

    # -- space

    async def fallocate(self, request: Request) -> bytes:
        """Preallocate, punch a hole, or zero a range."""
        fh, pos, length, mode = abi.FALLOCATE_IN.unpack_from(request.body)
        inode = self._regular(request.nodeid)
        keep_size = bool(mode & abi.FALLOC_KEEP_SIZE)
        what = mode & ~abi.FALLOC_KEEP_SIZE
        if what == 0:
            await self._control.reserver.allocate(inode, pos, length, keep_size=keep_size)
        elif what == abi.FALLOC_PUNCH_HOLE and keep_size:
            await self._control.puncher.punch(inode, pos, length)
        elif what == abi.FALLOC_ZERO_RANGE:
            await self._control.reserver.zero(inode, pos, length, keep_size=keep_size)
        else:
            raise OSError(errno.EOPNOTSUPP, f"fallocate mode {mode:#x}")
        await self._changed(inode, request, self._handles[fh])
        return b""

    async def copy_file_range(self, request: Request) -> bytes:
        """Copy bytes from file to file."""
        _, pos, target_ino, fh, at, length, flags = abi.COPY_IN.unpack_from(request.body)
        if flags:
            raise OSError(errno.EINVAL, f"copy_file_range flags {flags:#x}")
        source, target = self._regular(request.nodeid), self._regular(target_ino)
        done = await self._control.copier.copy(source, pos, target, at, length)
        await self._changed(target, request, self._handles[fh])
        return (abi.COPY_OUT_64 if request.opcode == COPY_FILE_RANGE_64 else abi.COPY_OUT).pack(
            done
        )

    async def _changed(self, inode: Inode, request: Request, handle: Handle) -> None:
        # The kernel does not say here whether the caller lacks CAP_FSETID; root never does.
        self._control.attributes.kill_privileges(inode, suid=request.uid != 0)
        if handle.is_synchronous:
            await self._control.points.sync_inode(inode, data_only=False)

    # -- holes

    async def lseek(self, request: Request) -> bytes:
        """SEEK_DATA and SEEK_HOLE; the kernel does the others itself."""
        if self._caching.writes_back:
            # Then any page may be dirty, and the kernel asks without writing back.  It asks
            # once: from now on everything is data.
            raise OSError(errno.ENOSYS, "holes are not told where writes are cached")
        _, pos, whence = abi.LSEEK_IN.unpack_from(request.body)
        inode = self._regular(request.nodeid)
        flush = self._write_back if self._handles.may_be_mapped(inode.ino) else None
        seek = {os.SEEK_DATA: seek_data, os.SEEK_HOLE: seek_hole}.get(whence)
        if seek is None:
            raise OSError(errno.EINVAL, f"lseek whence {whence}")
        return abi.LSEEK_OUT.pack(await seek(self._core.marks, inode, pos, flush))

    async def _write_back(self, ino: int, start: int, end: int) -> None:
        """Let the kernel drop its pages of a range, dirty ones after writing them here."""
        message = abi.inval_inode(NOTIFY_INVAL_INODE, ino, start, end)
        await trio.to_thread.run_sync(
            # At the end of a mount nobody answers its writes; the transport's stop refuses them.
            self._transport.notify,
            message,
            abandon_on_cancel=True,
            limiter=self._notifiers,
        )

    # -- inodes

    async def tmpfile(self, request: Request) -> bytes:
        """Make and open a file without a name."""
        flags, mode, _, _ = abi.TMPFILE_IN.unpack_from(request.body)
        made = self._control.names.make_nameless(
            request.nodeid,
            stat.S_IFREG | stat.S_IMODE(mode),
            (request.uid, request.gid),
            linkable=not flags & os.O_EXCL,
        )
        self._control.names.remember(made.ino)
        direct = 0
        if self._caching.opens_direct(flags):
            direct = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES
        number = self._handles.add(made, flags)
        timeout = self._caching.attr_timeout(made.mode)
        return abi.created(self._stat(made), timeout, number, abi.FOPEN_KEEP_CACHE | direct)

    async def statx(self, request: Request) -> bytes:
        """Return attributes, the time of birth among them."""
        inode = self._core.inode(request.nodeid)
        return abi.statx_out(self._stat(inode), self._caching.attr_timeout(inode.mode))

    def _stat(self, source: Attributes) -> abi.Stat:
        return abi.Stat(
            source.ino, source.mode, source.nlink, source.uid, source.gid,
            (os.major(source.rdev), os.minor(source.rdev)), source.size,
            report.allocated(self._core, source) // 512, BLOCK,
            source.atime_ns, source.mtime_ns, source.ctime_ns, source.btime_ns,
        )  # fmt: skip

    def _regular(self, ino: int) -> Inode:
        inode = self._core.inode(ino)
        if not stat.S_ISREG(inode.mode):
            raise OSError(errno.ENODEV, f"inode {ino} is no regular file")
        return inode
