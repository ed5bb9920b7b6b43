# SPDX-License-Identifier: MIT
"""What the machine asks of a file system; `in_process` and `on_mount` answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tests.model.filesystem import Path

LAYOUT_XATTR = b"user.iomapd.layout"


@dataclass(frozen=True, slots=True)
class Plan:
    """A volume: stripe unit, and the bytes that each member has for data."""

    unit: int
    data: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """What stat(2) says; *owned*: bytes of space."""

    ino: int
    kind: int
    mode: int
    owner: tuple[int, int]
    links: int
    size: int
    owned: int
    mtime_ns: int


class Driver(Protocol):
    """A mounted volume.  Errors are OSError; handles are small numbers.

    Attributes:
        plan: of the volume.
        owner: uid and gid of whoever works in it.
        is_exact: space is given back before the operation that frees it is answered.
    """

    plan: Plan
    owner: tuple[int, int]
    is_exact: bool

    def make_file(self, path: Path, mode: int) -> int:
        """open(2) with O_CREAT | O_EXCL | O_RDWR; a handle."""

    def make_directory(self, path: Path, mode: int) -> None:
        """mkdir(2)."""

    def make_symlink(self, path: Path, target: bytes) -> None:
        """symlink(2)."""

    def link(self, old: Path, new: Path) -> None:
        """link(2)."""

    def unlink(self, path: Path) -> None:
        """unlink(2)."""

    def rmdir(self, path: Path) -> None:
        """rmdir(2)."""

    def rename(self, old: Path, new: Path, flags: int) -> None:
        """renameat2(2)."""

    def set_mode(self, path: Path, mode: int) -> None:
        """chmod(2)."""

    def set_owner(self, path: Path, owner: tuple[int, int]) -> None:
        """lchown(2)."""

    def set_mtime(self, path: Path, mtime_ns: int) -> None:
        """utimensat(2) without following links."""

    def set_xattr(self, path: Path, name: bytes, value: bytes, flags: int) -> None:
        """setxattr(2)."""

    def remove_xattr(self, path: Path, name: bytes) -> None:
        """removexattr(2)."""

    def xattr(self, path: Path, name: bytes) -> bytes:
        """getxattr(2)."""

    def xattr_names(self, path: Path) -> set[bytes]:
        """listxattr(2)."""

    def names(self, path: Path) -> set[bytes]:
        """readdir(3), without the dots."""

    def target(self, path: Path) -> bytes:
        """readlink(2)."""

    def see(self, path: Path) -> Seen:
        """lstat(2)."""

    def open(self, path: Path) -> int:
        """open(2) with O_RDWR."""

    def close(self, handle: int) -> None:
        """close(2)."""

    def size(self, handle: int) -> int:
        """fstat(2)."""

    def read(self, handle: int, pos: int, count: int) -> bytes:
        """pread(2)."""

    def write(self, handle: int, pos: int, data: bytes, *, is_synced: bool) -> int:
        """pwrite(2), with RWF_DSYNC if *is_synced*."""

    def truncate(self, handle: int, size: int) -> None:
        """ftruncate(2)."""

    def sync(self, handle: int, *, data_only: bool) -> None:
        """fsync(2), fdatasync(2)."""

    def sync_directory(self, path: Path) -> None:
        """fsync(2) of a directory."""

    def space(self) -> tuple[int, int]:
        """statfs(2): bytes in use, bytes in all."""

    def forget(self) -> None:
        """The kernel drops its caches."""

    def crash(self) -> None:
        """The server is killed; mount again.  All handles are gone."""

    def remount(self) -> None:
        """Unmount in order, mount again.  All handles are gone."""

    def findings(self) -> list[str]:
        """What fsck has to say."""

    def end(self) -> None:
        """Take the volume away, in whatever state it is."""
