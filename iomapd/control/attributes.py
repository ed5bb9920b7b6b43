# SPDX-License-Identifier: MIT
"""Attributes: chmod, chown, times, suid clearing, extended attributes.

With FUSE_HANDLE_KILLPRIV_V2 the kernel leaves the clearing of privileges to us:
always on chown, and on write or truncate when it says so (the caller lacks
CAP_FSETID); ``security.capability`` goes with every change of owner or content.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Any, Final

from iomapd.control.core import CAPABILITY, now_ns

if TYPE_CHECKING:
    from iomapd.cache.inode import Inode
    from iomapd.control.core import Core

XATTR_SPACES: Final = (b"user.", b"trusted.", b"security.")
XATTR_VALUE_MAX: Final = 65_536  # linux/limits.h, XATTR_SIZE_MAX
XATTR_LIST_MAX: Final = 65_536
TIME_MIN_NS: Final = -(1 << 63)  # the year 1677
TIME_MAX_NS: Final = (1 << 63) - 1  # the year 2262
_TIMES: Final = frozenset({"atime_ns", "mtime_ns", "ctime_ns"})


class AttributeKeeper:
    """Changes attributes of inodes, each call one operation."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._names = core.store.names

    def set(self, inode: Inode, **fields: Any) -> None:
        """Set mode, uid, gid or times; ctime follows.

        chown clears suid and sgid of what is not a directory, unless the same
        call sets the mode.  A time that 64 bits of ns cannot hold becomes the last
        one that they can, as other file systems do with times beyond theirs.
        """
        owner_changes = "uid" in fields or "gid" in fields
        if owner_changes and "mode" not in fields and not stat.S_ISDIR(inode.mode):
            fields["mode"] = without_privileges(inode.mode)
        if "mode" in fields:
            fields["mode"] = stat.S_IFMT(inode.mode) | stat.S_IMODE(fields["mode"])
        for name in _TIMES & fields.keys():
            fields[name] = min(max(fields[name], TIME_MIN_NS), TIME_MAX_NS)
        fields.setdefault("ctime_ns", now_ns())
        with self._core.operation() as op:
            op.change(inode, **fields)
            if owner_changes:
                self._drop_capability(inode)

    def kill_privileges(self, inode: Inode, *, suid: bool) -> None:
        """Clear what a change of content must clear; cheap when there is nothing to."""
        mode = without_privileges(inode.mode) if suid else inode.mode
        if mode == inode.mode and not self._core.learn_capability(inode):
            return
        with self._core.operation() as op:
            op.change(inode, mode=mode, ctime_ns=now_ns())
            self._drop_capability(inode)

    def _drop_capability(self, inode: Inode) -> None:
        if self._core.learn_capability(inode):
            self._names.remove_xattr(inode.ino, CAPABILITY)
            inode.has_capability = None

    # -- extended attributes

    def xattr(self, ino: int, name: bytes) -> bytes:
        """Return a value; ENODATA when there is none.

        ``ls -l`` asks for the ACL of every file: so neither the inode nor, for name
        spaces that are not ours, the store is looked at.
        """
        _check_name(name)
        value = self._names.xattr(ino, name)
        if value is None:
            raise OSError(errno.ENODATA, "no such attribute")
        return value

    def xattr_names(self, inode: Inode) -> list[bytes]:
        """Return the names, in byte order."""
        return self._names.xattr_names(inode.ino)

    def set_xattr(self, inode: Inode, name: bytes, value: bytes) -> None:
        """Set or replace a value; E2BIG and ENOSPC as setxattr(2) has them."""
        _check_name(name)
        if len(value) > XATTR_VALUE_MAX:
            raise OSError(errno.E2BIG, f"value of {len(value)} bytes; at most {XATTR_VALUE_MAX}")
        names = set(self._names.xattr_names(inode.ino)) | {name}
        if sum(len(n) + 1 for n in names) > XATTR_LIST_MAX:
            raise OSError(errno.ENOSPC, "the list of names would not fit listxattr(2)")
        with self._core.operation() as op:
            self._names.set_xattr(inode.ino, name, value)
            op.change(inode, ctime_ns=now_ns())
        inode.has_capability = None

    def remove_xattr(self, inode: Inode, name: bytes) -> None:
        """Remove a value; ENODATA when there is none."""
        _check_name(name)
        with self._core.operation() as op:
            if not self._names.remove_xattr(inode.ino, name):
                raise OSError(errno.ENODATA, "no such attribute")
            op.change(inode, ctime_ns=now_ns())
        inode.has_capability = None


def without_privileges(mode: int) -> int:
    """Return *mode* without suid, and without sgid where the group may execute."""
    mode &= ~stat.S_ISUID
    if mode & stat.S_IXGRP:
        mode &= ~stat.S_ISGID
    return mode


def _check_name(name: bytes) -> None:
    if not name.startswith(XATTR_SPACES):
        # system.posix_acl_*: the kernel asks on every access otherwise; the
        # answer "not supported" is remembered.
        raise OSError(errno.EOPNOTSUPP, f"{os.fsdecode(name)}: name space not supported")
    if len(name) > 255:
        raise OSError(errno.ERANGE, f"attribute name of {len(name)} bytes; at most 255")
