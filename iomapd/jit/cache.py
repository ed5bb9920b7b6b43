# SPDX-License-Identifier: MIT
r"""Object files on disk: one per unit and key, trusted only when they are ours and whole.

    <directory>/<unit>-<key>.o
        OFFSET  SIZE  FIELD
             0    16  magic "iomapd object 1\\n"
            16    32  SHA-256 of the key and the object
            48     -  the object file

Code loaded from here runs with all our rights, so the directory must belong to the effective
user and be closed to everyone else, and so must the file.  A file that is not whole is
as good as none: LLVM would not survive it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Final

_MAGIC: Final = b"iomapd object 1\n"
_DIGEST_SIZE: Final = 32
_HEADER_SIZE: Final = len(_MAGIC) + _DIGEST_SIZE
_SYSTEM_DIRECTORY: Final = Path("/var/cache/iomapd")

KEPT: Final = 8
"""Objects of one unit that stay: enough for a few checkouts and versions beside each other."""


def candidate_directories() -> list[Path]:
    """List where object files of the effective user may live, best first."""
    if os.geteuid() == 0:
        return [_SYSTEM_DIRECTORY]
    home = os.environ.get("XDG_CACHE_HOME", "")
    cache = Path(home) if home.startswith("/") else Path("~/.cache").expanduser()
    # An account without a home (nobody, many services) still keeps them until the reboot.
    # Not gettempdir(): it tries to write, and raises in the child that examines a program.
    temporary = Path(os.environ.get("TMPDIR") or "/tmp")
    return [cache / "iomapd", temporary / f"iomapd-{os.geteuid()}"]


class ObjectStore:
    """A directory of object files that nobody else can write.

    Nothing here raises for what it finds: a store that cannot be used costs a
    compilation, never a mount.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @classmethod
    def open(cls, directory: Path | None = None) -> ObjectStore | None:
        """Open *directory*, or the first usable one of the effective user; None without one."""
        for candidate in [directory] if directory else candidate_directories():
            if _make_private(candidate):
                return cls(candidate)
        return None

    def path_of(self, unit: str, key: str) -> Path:
        """Return where the object of *unit* with *key* is kept."""
        return self.directory / f"{unit}-{key[:32]}.o"

    def load(self, unit: str, key: str) -> bytes | None:
        """Return the object, or None when it is missing, not ours, or damaged."""
        try:
            fd = os.open(self.path_of(unit, key), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        with open(fd, "rb") as file:
            if not _is_private(os.fstat(fd), stat.S_IFREG):
                return None
            content = file.read()
        data = content[_HEADER_SIZE:]
        return data if content[:_HEADER_SIZE] == _header(key, data) else None

    def save(self, unit: str, key: str, data: bytes, kept: int = KEPT) -> None:
        """Keep *data*; readers see all of it or nothing.  A full disk keeps nothing.

        Args:
            unit: name of the unit.
            key: of this object.
            data: the object.
            kept: how many objects of the unit stay, this one included; the oldest go.
        """
        path = self.path_of(unit, key)
        with contextlib.suppress(OSError):
            fd, name = tempfile.mkstemp(prefix=f".{unit}-", dir=self.directory)  # mode 0600
            try:
                with open(fd, "wb") as file:
                    file.write(_header(key, data) + data)
                Path(name).rename(path)
            except OSError:
                Path(name).unlink()
                raise
            self._forget_old(unit, kept)

    def _forget_old(self, unit: str, kept: int) -> None:
        objects = sorted(
            self.directory.glob(f"{unit}-*.o"), key=lambda path: path.stat().st_mtime_ns
        )
        for path in objects[:-kept]:
            path.unlink()


def _header(key: str, data: bytes) -> bytes:
    return _MAGIC + hashlib.sha256(key.encode() + data).digest()


def _make_private(directory: Path) -> bool:
    """Create *directory* when missing; tell whether only the effective user can reach it."""
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        return _is_private(directory.lstat(), stat.S_IFDIR) and os.access(directory, os.W_OK)
    except OSError:
        return False


def _is_private(status: os.stat_result, kind: int) -> bool:
    return (
        stat.S_IFMT(status.st_mode) == kind
        and status.st_uid == os.geteuid()
        and not stat.S_IMODE(status.st_mode) & 0o077
    )
