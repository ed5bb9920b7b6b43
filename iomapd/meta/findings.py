# SPDX-License-Identifier: MIT
"""What a check found, one record per fault, and how inodes are called in messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from iomapd.errors import on_one_line
from iomapd.meta.schema import ROOT_INO

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from iomapd.meta.records import DirentRecord


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault in one line.

    Attributes:
        check: what was checked, such as "names" or "extents".
        message: one line that names the file, member or row, and the rule.
        path: the file it is about, from the root of the volume.
        severity: a warning needs no repair.
    """

    check: str
    message: str
    path: str | None = None
    severity: Literal["error", "warning"] = "error"

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", on_one_line(self.message))


class PathNames:
    """Paths of inodes, by the first name of each that was seen.

    Args:
        dirents: all names.
        inodes: the inodes there are: one without a name is called unlinked.
    """

    def __init__(self, dirents: Iterable[DirentRecord], inodes: Container[int] = ()) -> None:
        self._inodes = inodes
        self._names: dict[int, tuple[int, bytes]] = {}
        for dirent in dirents:
            self._names.setdefault(dirent.ino, (dirent.parent, dirent.name))

    def path(self, ino: int) -> str:
        """Return ``/a/b`` for an inode; ``unlinked inode 7`` stands for what no name leads to."""
        parts: list[str] = []
        seen = set()
        while ino != ROOT_INO:
            if ino in seen or ino not in self._names:
                known = "unlinked " if ino in self._inodes and ino not in seen else ""
                return "/".join([f"{known}inode {ino}", *reversed(parts)])
            seen.add(ino)
            ino, name = self._names[ino]
            parts.append(shown_name(name))
        return "/" + "/".join(reversed(parts))


def shown_name(name: bytes) -> str:
    r"""Write a file name so that it stays on one line: ``\x0a`` for what cannot be shown."""
    text = name.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
