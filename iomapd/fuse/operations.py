# SPDX-License-Identifier: MIT
"""pyfuse3's handlers: unpack the request, ask the control plane, pack the answer.

No rule of the file system lives here.  What libfuse and pyfuse3 drop (O_DSYNC of
a WRITE, the kill-suid bits) comes in the high bits of file handles and open
flags; see the table in ``abi/fuse.py``.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Any, Final

import pyfuse3

from iomapd.abi.fuse import FH_DSYNC, FH_KILL_SUIDGID, FH_SYNC, OPEN_KILL_SUIDGID
from iomapd.abi.units import BLOCK, NAME_MAX
from iomapd.control import report
from iomapd.control.attributes import without_privileges
from iomapd.control.layouts import XATTR as LAYOUT_XATTR
from iomapd.fuse.answers import answers
from iomapd.fuse.handles import Handles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iomapd.cache.inode import Inode
    from iomapd.control.mount import ControlPlane
    from iomapd.control.namespace import Attributes
    from iomapd.fuse.caching import Caching

# The kernel sees every change itself: nobody else writes to the volume.
ENTRY_TIMEOUT_S: Final = 3600
DOTS: Final = 2  # readdir positions 1 and 2 are "." and ".."


class Operations(pyfuse3.Operations):
    """The handlers of one mount.

    Args:
        control: its control plane.
        caching: who caches what files hold.
        dirsync: changes of names are durable before their reply.
    """

    supports_dot_lookup = True
    enable_writeback_cache = False  # the transport asks for it, see its handshake
    enable_acl = False

    def __init__(self, control: ControlPlane, caching: Caching, *, dirsync: bool = False) -> None:
        super().__init__()
        self._caching = caching
        self._dirsync = dirsync
        self._control = control
        self._core = control.core
        self.handles = Handles()
        self.requests: dict[str, list[int]] = {}

    # -- attributes out

    def _entry(self, source: Attributes) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = source.ino
        entry.entry_timeout = ENTRY_TIMEOUT_S
        entry.attr_timeout = self._caching.attr_timeout(source.mode)
        entry.st_mode = source.mode
        entry.st_nlink = source.nlink
        entry.st_uid = source.uid
        entry.st_gid = source.gid
        entry.st_rdev = source.rdev
        entry.st_size = source.size
        entry.st_blksize = BLOCK
        entry.st_blocks = report.allocated(self._core, source) // 512
        entry.st_atime_ns = source.atime_ns
        entry.st_mtime_ns = source.mtime_ns
        entry.st_ctime_ns = source.ctime_ns
        entry.st_birthtime_ns = source.btime_ns
        return entry

    def _referenced(self, source: Attributes) -> pyfuse3.EntryAttributes:
        """Return an entry and count the reference the reply hands to the kernel."""
        entry = self._entry(source)
        self._control.names.remember(source.ino)
        return entry

    # -- names

    async def _names_changed(self) -> None:
        if self._dirsync:
            await self._control.points.make()

    @answers
    async def lookup(self, parent: int, name: bytes, ctx: Any) -> pyfuse3.EntryAttributes:
        """Find a name; a miss is cached by the kernel too."""
        found = self._control.names.lookup(parent, name)
        if found is not None:
            return self._referenced(found)
        missing = pyfuse3.EntryAttributes()
        missing.st_ino = 0
        missing.entry_timeout = ENTRY_TIMEOUT_S
        return missing

    @answers
    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        """Take references back."""
        for ino, count in inode_list:
            await self._control.forgotten(ino, count)

    @answers
    async def mkdir(self, parent: int, name: bytes, mode: int, ctx: Any) -> Any:
        """Make a directory."""
        made = self._control.names.make(parent, name, mode, (ctx.uid, ctx.gid))
        await self._names_changed()
        return self._referenced(made)

    @answers
    async def mknod(self, parent: int, name: bytes, mode: int, rdev: int, ctx: Any) -> Any:
        """Make a file, fifo, socket or device."""
        owner = (ctx.uid, ctx.gid)
        made = self._control.names.make(parent, name, mode, owner, rdev=rdev)
        await self._names_changed()
        return self._referenced(made)

    @answers
    async def symlink(self, parent: int, name: bytes, target: bytes, ctx: Any) -> Any:
        """Make a symbolic link."""
        made = self._control.names.make(
            parent, name, stat.S_IFLNK | 0o777, (ctx.uid, ctx.gid), target=target
        )
        await self._names_changed()
        return self._referenced(made)

    @answers
    async def readlink(self, inode: int, ctx: Any) -> bytes:
        """Return a symbolic link's target."""
        return self._control.names.readlink(inode)

    @answers
    async def link(self, inode: int, new_parent: int, new_name: bytes, ctx: Any) -> Any:
        """Give a file one more name."""
        linked = self._control.names.link(inode, new_parent, new_name)
        await self._names_changed()
        return self._referenced(linked)

    @answers
    async def unlink(self, parent: int, name: bytes, ctx: Any) -> None:
        """Remove a name."""
        await self._control.delete(self._control.names.unlink(parent, name))
        await self._names_changed()

    @answers
    async def rmdir(self, parent: int, name: bytes, ctx: Any) -> None:
        """Remove an empty directory."""
        await self._control.delete(self._control.names.rmdir(parent, name))
        await self._names_changed()

    @answers
    async def rename(
        self, old: int, old_name: bytes, new: int, new_name: bytes, flags: int, ctx: Any
    ) -> None:
        """Move a name; NOREPLACE and EXCHANGE as renameat2(2)."""
        names = self._control.names
        if flags & ~(pyfuse3.RENAME_NOREPLACE | pyfuse3.RENAME_EXCHANGE):
            raise OSError(errno.EINVAL, f"rename flags {flags:#x}")
        if flags & pyfuse3.RENAME_EXCHANGE:
            names.exchange((old, old_name), (new, new_name))
            await self._names_changed()
            return
        await self._control.settle_before_replacing((old, old_name), (new, new_name))
        noreplace = bool(flags & pyfuse3.RENAME_NOREPLACE)
        replaced = names.rename((old, old_name), (new, new_name), noreplace=noreplace)
        if replaced is not None:
            await self._control.delete(replaced)
        await self._names_changed()

    @answers
    async def opendir(self, inode: int, ctx: Any) -> int:
        """Open a directory; its handle is its inode number."""
        self._core.inode(inode)
        return inode

    @answers
    async def readdir(self, fh: int, start_id: int, token: Any) -> None:
        """List names with their attributes, from position *start_id* on."""
        names = self._control.names
        for position, name in ((1, b"."), (2, b"..")):
            if start_id < position:
                found = names.lookup(fh, name)
                assert found is not None
                if not pyfuse3.readdir_reply(token, name, self._entry(found), position):
                    return
        for cookie, name, found in names.list(fh, max(0, start_id - DOTS)):
            if not pyfuse3.readdir_reply(token, name, self._entry(found), cookie + DOTS):
                return
            names.remember(found.ino)

    @answers
    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        """Make names durable."""
        await self._control.points.make()

    @answers
    async def releasedir(self, fh: int) -> None:
        """Close a directory."""

    # -- attributes

    @answers
    async def getattr(self, inode: int, ctx: Any) -> pyfuse3.EntryAttributes:
        """Return attributes."""
        return self._entry(self._core.inode(inode))

    @answers
    async def setattr(self, inode: int, attr: Any, fields: Any, fh: int | None, ctx: Any) -> Any:
        """Change attributes; size first, since that is what can fail."""
        target = self._core.inode(inode)
        changes = {
            f"{name}{suffix}": getattr(attr, f"st_{name}{suffix}")
            for name, suffix in (
                ("mode", ""), ("uid", ""), ("gid", ""), ("atime", "_ns"), ("mtime", "_ns"),
                ("ctime", "_ns"),  # from a kernel that writes back and keeps times itself
            )
            if getattr(fields, f"update_{name}")
        }  # fmt: skip
        if fields.update_size:
            suid = fh is not None and bool(fh & FH_KILL_SUIDGID)
            await self._truncate(target, attr.st_size, suid=suid)
        if changes or not fields.update_size:
            self._control.attributes.set(target, **changes)
        return self._entry(target)

    async def _truncate(self, inode: Inode, size: int, *, suid: bool) -> None:
        if stat.S_ISDIR(inode.mode):
            raise OSError(errno.EISDIR, "a directory has no size to set")
        cleared = {"mode": without_privileges(inode.mode)} if suid else {}
        await self._control.files.truncate(inode, size, **cleared)
        self._control.attributes.kill_privileges(inode, suid=suid)

    @answers
    async def access(self, inode: int, mode: int, ctx: Any) -> bool:
        """Never asked: the kernel checks (``default_permissions``)."""
        return True

    @answers
    async def statfs(self, ctx: Any) -> pyfuse3.StatvfsData:
        """Return space and name limits."""
        space = report.space_of(self._core)
        found = pyfuse3.StatvfsData()
        found.f_bsize = found.f_frsize = BLOCK
        found.f_blocks = space["size"] // BLOCK
        found.f_bfree = found.f_bavail = space["free"] // BLOCK
        # Inodes have no space of their own here: as many as there are blocks.
        found.f_ffree = found.f_favail = found.f_bfree
        found.f_files = found.f_ffree + self._core.store.names.count_inodes()
        found.f_namemax = NAME_MAX
        return found

    @answers
    async def getxattr(self, inode: int, name: bytes, ctx: Any) -> bytes:
        """Return an extended attribute, or the layout as one."""
        if name != LAYOUT_XATTR:
            return self._control.attributes.xattr(inode, name)
        target = self._core.inode(inode)
        if not stat.S_ISDIR(target.mode) and not stat.S_ISREG(target.mode):
            raise OSError(errno.ENODATA, "no layout")
        return self._control.layouts.text(target)

    @answers
    async def setxattr(self, inode: int, name: bytes, value: bytes, ctx: Any) -> None:
        """Set an extended attribute, or the layout."""
        target = self._core.inode(inode)
        if name == LAYOUT_XATTR:
            await self._control.layouts.set_text(target, value)
        else:
            self._control.attributes.set_xattr(target, name, value)

    @answers
    async def listxattr(self, inode: int, ctx: Any) -> list[bytes]:
        """List extended attributes; virtual ones are not listed, so that copies stay plain."""
        return self._control.attributes.xattr_names(self._core.inode(inode))

    @answers
    async def removexattr(self, inode: int, name: bytes, ctx: Any) -> None:
        """Remove an extended attribute."""
        if name == LAYOUT_XATTR:
            raise OSError(errno.EPERM, "a layout can be changed, not removed")
        self._control.attributes.remove_xattr(self._core.inode(inode), name)

    # -- files

    @answers
    async def open(self, inode: int, flags: int, ctx: Any) -> pyfuse3.FileInfo:
        """Open a file; O_TRUNC comes with it."""
        target = self._core.inode(inode)
        if flags & os.O_TRUNC:
            await self._truncate(target, 0, suid=bool(flags & OPEN_KILL_SUIDGID))
        return self._opened(target, flags)

    @answers
    async def create(self, parent: int, name: bytes, mode: int, flags: int, ctx: Any) -> Any:
        """Make and open a file."""
        made = self._control.names.make(parent, name, mode, (ctx.uid, ctx.gid))
        await self._names_changed()
        return self._opened(made, flags), self._referenced(made)

    def _opened(self, inode: Inode, flags: int) -> pyfuse3.FileInfo:
        number = self.handles.add(inode, flags)
        direct = self._caching.opens_direct(flags)
        # What is cached stays good from open to open: nobody else writes to the volume.
        return pyfuse3.FileInfo(fh=number, direct_io=direct, keep_cache=True)

    @answers
    async def read(self, fh: int, off: int, size: int) -> bytes:
        """Read; any buffer will do, whatever the annotation of pyfuse3 says."""
        return await self._control.files.read(self.handles[fh].inode, off, size)  # type: ignore[return-value]

    @answers
    async def write(self, fh: int, off: int, buf: bytes) -> int:
        """Write; durable before the reply where the flags ask for it."""
        inode = self.handles[fh].inode
        self._control.attributes.kill_privileges(inode, suid=bool(fh & FH_KILL_SUIDGID))
        timed = not self._caching.keeps_times(fh)
        done = await self._control.files.write(inode, off, buf, timed=timed)
        if fh & (FH_DSYNC | FH_SYNC):
            await self._control.points.sync_inode(inode, data_only=not fh & FH_SYNC)
        return done

    @answers
    async def flush(self, fh: int) -> None:
        """Close was called: report a failed flush once per handle."""
        handle = self.handles[fh]
        if handle.inode.failed and not handle.told:
            handle.told = True
            raise OSError(errno.EIO, "data of this file could not be made durable")

    @answers
    async def fsync(self, fh: int, datasync: bool) -> None:
        """Make a file durable."""
        await self._control.points.sync_inode(self.handles[fh].inode, data_only=datasync)

    @answers
    async def release(self, fh: int) -> None:
        """The last reference to an open file is gone."""
        await self._control.closed(self.handles.pop(fh).inode)
