# SPDX-License-Identifier: MIT
r"""What is mounted where, read from ``/proc/self/mountinfo`` without touching any mount.

    36 35 0:57 / /mnt/a\040b rw,nosuid shared:1 - fuse.iomapd scratch rw,user_id=0,...
    |  |  |    | |           |         |        | |           |       super options
    |  |  |    | |           |         |        | |           source
    |  |  |    | |           |         |        | file-system type
    |  |  |    | |           |         |        separator, after any number of tags
    |  |  |    | mountpoint  options   tags
    |  |  |    root of the mount inside its file system
    |  |  device, major:minor; what st_dev says of every file in it
    |  parent mount id
    mount id

The kernel writes blank, tab, newline and backslash as three octal digits
(proc_pid_mountinfo(5)).  Looking here instead of calling stat(2) keeps a tool
alive when the mount it asks about is not.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MOUNTINFO: Final = Path("/proc/self/mountinfo")

_ESCAPE: Final = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class MountEntry:
    """One line of mountinfo; *device* is ``(major, minor)``, options as the kernel spells them."""

    mount_id: int
    device: tuple[int, int]
    root: Path
    mountpoint: Path
    fstype: str
    source: str
    options: tuple[str, ...]
    super_options: tuple[str, ...]

    def super_option(self, key: str) -> str | None:
        """Return the value of ``key=value`` among the super options, or None."""
        prefix = f"{key}="
        return next(
            (o.removeprefix(prefix) for o in self.super_options if o.startswith(prefix)), None
        )


def parse_mountinfo(text: bytes) -> list[MountEntry]:
    """Return the entries of *text* in its order, which is the order of mounting.

    Lines that do not have the documented shape are left out: a new kernel's
    extra line must not end a tool.
    """
    entries = []
    for line in text.splitlines():
        head, separator, tail = line.partition(b" - ")
        left, right = head.split(b" "), tail.split(b" ")
        if separator and len(left) >= 6 and len(right) >= 3:
            entries.append(_entry(left, right))
    return entries


def read_mounts(source: Path = MOUNTINFO) -> list[MountEntry]:
    """Return what is mounted in this process's mount namespace."""
    return parse_mountinfo(source.read_bytes())


def find_mount(mountpoint: Path, entries: list[MountEntry] | None = None) -> MountEntry | None:
    """Return the topmost mount on exactly *mountpoint*, or None.

    Only the parent is resolved, and only when the path as given is not found:
    ``lstat`` of a mountpoint is a request to its server, which may be stuck.
    """
    entries = read_mounts() if entries is None else entries
    given = Path(os.path.abspath(mountpoint))  # noqa: PTH100  Path.resolve() would touch the mount
    for candidate in (given, given.parent.resolve() / given.name):
        # The last entry wins: a later mount covers an earlier one.
        if found := [entry for entry in entries if entry.mountpoint == candidate]:
            return found[-1]
    # Not a mountpoint by name, so resolving it is harmless; it may be a link to one.
    resolved = given.resolve()
    found = [entry for entry in entries if entry.mountpoint == resolved]
    return found[-1] if found else None


def _entry(left: list[bytes], right: list[bytes]) -> MountEntry:
    major, minor = left[2].split(b":")
    return MountEntry(
        mount_id=int(left[0]),
        device=(int(major), int(minor)),
        root=Path(_unescape(left[3])),
        mountpoint=Path(_unescape(left[4])),
        options=tuple(_unescape(left[5]).split(",")),
        fstype=_unescape(right[0]),
        source=_unescape(right[1]),
        super_options=tuple(_unescape(right[2]).split(",")),
    )


def _unescape(field: bytes) -> str:
    return os.fsdecode(_ESCAPE.sub(lambda m: bytes([int(m[1], 8) & 0xFF]), field))
