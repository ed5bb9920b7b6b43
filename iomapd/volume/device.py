# SPDX-License-Identifier: MIT
"""Opening a file or block device so that nobody else works on it.

Everything is learnt from descriptors, nothing from names: the name is resolved
once (links such as ``/dev/disk/by-id/...`` are how devices are named), pinned
with ``O_PATH | O_NOFOLLOW``, looked at, and only then opened through the pin.  A
name that changes meanwhile opens what was looked at or nothing.

Exclusion lives on the descriptor that does the I/O: ``O_EXCL`` on a block device
(it also fails while the device is mounted, swapped on or part of another
device), ``flock`` on a regular file.  It ends when the last I/O through that
descriptor is over, however the process ended.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from iomapd.abi.block import BLKGETSIZE64, BLKSSZGET
from iomapd.abi.units import BLOCK
from iomapd.errors import MemberBusyError, MemberError, MemberMissingError
from iomapd.volume.in_use import lock_holder, users_of
from iomapd.volume.resting import Resting, resting_place

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

POLL_S: Final = 0.02
"""Pause between two tries to get an exclusion, seconds: neither lock has a timed wait."""

FILE_SECTOR: Final = 512
"""Logical sector reported for regular files, bytes."""

_TYPES: Final = {
    stat.S_IFDIR: "a directory",
    stat.S_IFCHR: "a character device",
    stat.S_IFIFO: "a fifo",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a symbolic link",
}


@dataclass(slots=True)
class Device:
    """An open, exclusively held regular file or block device.

    Attributes:
        path: the name it was opened by.
        fd: descriptor that does the I/O and holds the exclusion; ours to close.
        kind: "file" or "block".
        size: bytes.
        logical_sector: bytes; `FILE_SECTOR` for regular files.
        resting: where its bytes rest; equal places are equal devices.
    """

    path: Path
    fd: int
    kind: Literal["file", "block"]
    size: int
    logical_sector: int
    resting: Resting

    def close(self) -> None:
        """Give the device up; may be called again."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def open_device(
    path: Path, *, read_only: bool, deadline: float = 0.0, others: Iterable[Device] = ()
) -> Device:
    """Open *path* and hold it against other users.

    Args:
        path: regular file or block device, or a link to one.
        read_only: open for reading; files are then shared with other readers.
        deadline: ``time.monotonic()`` until which another holder is waited for.
        others: devices of the same volume, open already; *path* must be none of them.

    Raises:
        MemberMissingError: there is nothing of that name.
        MemberBusyError: somebody else holds it; the message says who.
        MemberError: wrong type, no permission, sectors larger than a block, or the
            same bytes as one of *others*.
    """
    pin = _pin(path)
    try:
        found = os.fstat(pin)
        _check_type(path, found)
        # Before the exclusion is asked for: we would wait for ourselves.
        for other in others:
            if _is_same(os.fstat(other.fd), found):
                raise MemberError(_twice(path, other))
        fd = _open_held(path, pin, found, read_only, deadline)
    finally:
        os.close(pin)
    try:
        device = _describe(path, fd)
        for other in others:
            if device.resting.overlaps(other.resting):
                raise MemberError(_twice(path, other))
    except BaseException:
        os.close(fd)
        raise
    return device


def refuse_inside(path: Path, mountpoint: Path) -> None:
    """Refuse a member that the mount would hide: its own I/O would wait for itself.

    Raises:
        MemberError: *path* lies in *mountpoint*, under whatever name.
    """
    try:
        target = mountpoint.stat()
    except OSError:
        return  # what is not there hides nothing; whoever mounts there says so
    for parent in path.resolve().parents:
        if os.path.samestat(parent.stat(), target):
            raise MemberError(
                f"{path}: lies inside the mountpoint {mountpoint}, which will hide it"
            )


def refuse_shared(device: Device) -> None:
    """Refuse a file that somebody uses without locking it: as swap, or under a loop device.

    A loop device keeps pages of its own; written through both, the file ends up
    with some of each.  Block devices need no such question, O_EXCL has answered it.

    Raises:
        MemberBusyError: naming the user.
    """
    if device.kind == "file" and (users := users_of(os.fstat(device.fd))):
        raise MemberBusyError(f"{device.path}: is in use: {', '.join(users)}")


def _twice(path: Path, other: Device) -> str:
    return f"{path}: is {other.path} once more; a volume has each member once"


def _is_same(one: os.stat_result, two: os.stat_result) -> bool:
    if stat.S_ISBLK(one.st_mode) and stat.S_ISBLK(two.st_mode):
        return one.st_rdev == two.st_rdev
    return os.path.samestat(one, two)


def _open_held(
    path: Path, pin: int, found: os.stat_result, read_only: bool, deadline: float
) -> int:
    while True:
        fd = _open_pinned(path, pin, found, read_only)
        if fd is not None:
            return fd
        if time.monotonic() >= deadline:
            raise MemberBusyError(_busy(path, found))
        time.sleep(POLL_S)


def _pin(path: Path) -> int:
    try:
        real = path.resolve(strict=True)
        return os.open(real, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise MemberMissingError(f"{path}: no such file or device") from None
    except (OSError, RuntimeError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise MemberError(f"{path}: cannot be opened: {reason}") from None


def _check_type(path: Path, found: os.stat_result) -> None:
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISBLK(found.st_mode)):
        kind = _TYPES.get(stat.S_IFMT(found.st_mode), "neither")
        raise MemberError(f"{path}: is {kind}; a member is a regular file or a block device")


def _open_pinned(path: Path, pin: int, found: os.stat_result, read_only: bool) -> int | None:
    """Open what is pinned and take the exclusion; None while somebody else has it."""
    is_block = stat.S_ISBLK(found.st_mode)
    flags = (os.O_RDONLY if read_only else os.O_RDWR) | (os.O_EXCL if is_block else 0)
    try:
        fd = os.open(f"/proc/self/fd/{pin}", flags | os.O_CLOEXEC)
    except OSError as exc:
        if exc.errno == errno.EBUSY:
            return None
        wanted = "readable" if read_only else "readable and writable"
        reason = f"{exc.strerror}; a member must be {wanted}"
        raise MemberError(f"{path}: cannot be opened: {reason}") from None
    if not is_block:
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if read_only else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
    return fd


def _busy(path: Path, found: os.stat_result) -> str:
    if stat.S_ISBLK(found.st_mode):
        users = users_of(found) or ["held exclusively by another process"]
        return f"{path}: is in use: {', '.join(users)}"
    return f"{path}: is in use: locked by {lock_holder(found)}"


def _describe(path: Path, fd: int) -> Device:
    found = os.fstat(fd)
    if stat.S_ISREG(found.st_mode):
        place = resting_place(fd, found.st_size)
        return Device(path, fd, "file", found.st_size, FILE_SECTOR, place)
    (size,) = struct.unpack("N", fcntl.ioctl(fd, BLKGETSIZE64, bytes(struct.calcsize("N"))))
    (sector,) = struct.unpack("i", fcntl.ioctl(fd, BLKSSZGET, bytes(4)))
    if sector > BLOCK:
        raise MemberError(
            f"{path}: logical sectors of {sector} bytes; a sector must fit into a block of {BLOCK}"
        )
    return Device(path, fd, "block", size, sector, resting_place(fd, size))
