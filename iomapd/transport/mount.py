# SPDX-License-Identifier: MIT
"""Mounting and unmounting: mount(2) where we may, fusermount3 elsewhere.

fusermount3 is libfuse's set-user-ID helper: it opens /dev/fuse, mounts, and hands the open
file over a socket whose number it finds in ``_FUSE_COMMFD``.
"""

from __future__ import annotations

import array
import ctypes
import errno
import os
import shutil
import socket
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from iomapd.abi.mountinfo import find_mount
from iomapd.errors import MountError

_DEVICE: Final = "/dev/fuse"
_HELPER: Final = "fusermount3"
_MNT_DETACH: Final = 2
_UMOUNT_NOFOLLOW: Final = 8

# <linux/mount.h>; the names are those of mount(8) and fstab.
FLAGS: Final = {
    "ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8, "sync": 16, "dirsync": 128,
    "noatime": 1024, "nodiratime": 2048, "relatime": 1 << 21, "strictatime": 1 << 24,
    "lazytime": 1 << 25,
}  # fmt: skip

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class MountOptions:
    """How to mount.  The kernel always checks permissions by mode and owner.

    Attributes:
        fsname: what mount(8) shows as the source.
        subtype: the type is ``fuse.<subtype>``; empty for plain ``fuse``.
        flags: names of `FLAGS`.
        allow_other: users other than the one who mounts may enter.
        max_read: largest READ, bytes; 0 leaves it to INIT.
        nonempty: mount over a directory that has entries.
    """

    fsname: str = "iomapd"
    subtype: str = "iomapd"
    flags: frozenset[str] = frozenset()
    allow_other: bool = False
    max_read: int = 0
    nonempty: bool = False


def check_mountpoint(mountpoint: Path, *, nonempty: bool = False) -> Path:
    """Return the absolute path of *mountpoint* without links, fit to be mounted on.

    A FUSE file system that is mounted there already is never entered: it may be dead.

    Raises:
        MountError: it is missing, no directory, not empty, or such a mount point.
    """
    path = mountpoint.absolute()
    path = Path(os.path.realpath(path.parent)) / path.name
    if path.name and (mounted := find_mount(path)) and mounted.fstype.split(".")[0] == "fuse":
        raise MountError(
            f"{mountpoint}: {mounted.fstype} is mounted here already ({mounted.source})"
        )
    path = Path(os.path.realpath(path))
    try:
        if not stat.S_ISDIR(path.stat().st_mode):
            raise MountError(f"{mountpoint}: not a directory; mount points are directories")
        if not nonempty and any(path.iterdir()):
            raise MountError(f"{mountpoint}: not empty; mounting would hide what is in it")
    except OSError as error:
        raise MountError(f"{mountpoint}: {error.strerror}") from error
    return path


def mount(mountpoint: Path, options: MountOptions) -> int:
    """Mount on *mountpoint* (see `check_mountpoint`); return the connection's open file.

    Raises:
        MountError: the kernel or fusermount3 refused, in its words.
    """
    if os.geteuid() == 0:
        return _mount_directly(mountpoint, options)
    return _mount_by_helper(mountpoint, options)


def unmount(mountpoint: Path, *, lazy: bool = False) -> None:
    """Unmount what is on *mountpoint*.

    Args:
        mountpoint: absolute path without links; it is not entered.
        lazy: take it out of the tree now, and end it when its last user leaves.

    Raises:
        MountError: it is busy, or not ours to unmount.
    """
    if os.geteuid() == 0:
        flags = _UMOUNT_NOFOLLOW | (_MNT_DETACH if lazy else 0)
        if _libc.umount2(os.fsencode(mountpoint), flags) != 0:
            number = ctypes.get_errno()
            raise MountError(f"{mountpoint}: {os.strerror(number)}")
        return
    arguments = ["-u", "-z"] if lazy else ["-u"]
    done = subprocess.run(
        [_helper(), *arguments, "--", mountpoint], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise MountError(f"{mountpoint}: {_last_line(done.stderr)}")


def _mount_directly(mountpoint: Path, options: MountOptions) -> int:
    try:
        fd = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise MountError(f"{_DEVICE}: {error.strerror}; is the fuse module loaded?") from error
    try:
        root_mode = stat.S_IFMT(mountpoint.stat().st_mode)
        data = [f"fd={fd}", f"rootmode={root_mode:o}", f"user_id={os.getuid()}"]
        data += [f"group_id={os.getgid()}", *_kernel_options(options)]
        number = _mount_call(options, mountpoint, ",".join(data))
        if number == errno.ENODEV:
            raise MountError(f"{mountpoint}: this kernel has no FUSE; load the fuse module")
        if number:
            raise MountError(f"{mountpoint}: mount: {os.strerror(number)}")
    except BaseException:
        os.close(fd)
        raise
    return fd


def _mount_call(options: MountOptions, mountpoint: Path, data: str) -> int:
    """Call mount(2); return 0 or the errno."""
    kind = f"fuse.{options.subtype}" if options.subtype else "fuse"
    flags = sum(FLAGS[name] for name in options.flags)
    result = _libc.mount(
        os.fsencode(options.fsname), os.fsencode(mountpoint), kind.encode(),
        ctypes.c_ulong(flags), os.fsencode(data),
    )  # fmt: skip
    return 0 if result == 0 else ctypes.get_errno()


def _kernel_options(options: MountOptions) -> list[str]:
    words = ["default_permissions"]
    if options.allow_other:
        words.append("allow_other")
    if options.max_read:
        words.append(f"max_read={options.max_read}")
    return words


def _mount_by_helper(mountpoint: Path, options: MountOptions) -> int:
    words = [f"fsname={_escaped(options.fsname)}"]
    if options.subtype:
        words.append(f"subtype={_escaped(options.subtype)}")
    words += [*sorted(options.flags), *_kernel_options(options)]
    ours, theirs = socket.socketpair()
    with ours, theirs:
        done = subprocess.run(
            [_helper(), "-o", ",".join(words), "--", mountpoint],
            env={**os.environ, "_FUSE_COMMFD": str(theirs.fileno())},
            pass_fds=[theirs.fileno()],
            capture_output=True,
            text=True,
            check=False,
        )
        theirs.close()
        fd = _receive_fd(ours) if done.returncode == 0 else -1
    if fd < 0:
        raise MountError(f"{mountpoint}: {_last_line(done.stderr)}")
    return fd


def _receive_fd(end: socket.socket) -> int:
    fds = array.array("i")
    _, ancillary, _, _ = end.recvmsg(1, socket.CMSG_SPACE(fds.itemsize), socket.MSG_CMSG_CLOEXEC)
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: fds.itemsize])
            return fds[0]
    return -1


def _helper() -> str:
    path = shutil.which(_HELPER)
    if path is None:
        raise MountError(f"{_HELPER} is not installed; ordinary users need it (package fuse3)")
    return path


def _escaped(word: str) -> str:
    return word.replace("\\", "\\\\").replace(",", "\\,")


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else f"{_HELPER} failed without a word"
