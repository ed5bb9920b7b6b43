# SPDX-License-Identifier: MIT
"""One reading of a whole store that may be broken, for the checks.

Rows that cannot be used are told once, as findings, and left out; what else could be
said of their inodes would only repeat it, so checks ask `is_told` before they speak.
Rows that were read are counted for a progress bar.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Final, TypeVar

from iomapd.meta.check_header import sound_layouts
from iomapd.meta.findings import Finding, PathNames

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from iomapd.mapping.extent import Extent
    from iomapd.meta.records import ContentRecord, DirentRecord, InodeRecord, XattrRecord
    from iomapd.meta.store import Store

T = TypeVar("T")

TICK: Final = 4096
"""Rows between two reports of progress."""


class Scan:
    """A store, read from beginning to end as often as the checks want.

    Args:
        store: read only.
        progress: told how many rows were read.

    Attributes:
        modes: type and permissions by ino, of all inodes whose rows can be used.
        paths: how to call inodes.
        layouts: those that can be used, and which others there are.
    """

    def __init__(self, store: Store, progress: Callable[[int], None] | None = None) -> None:
        self.store = store
        self._progress = progress
        self._read = 0
        self._faults: dict[tuple[int, str], str] = {}
        self._told: set[int] = set()
        self._given = 0
        self.layouts = sound_layouts(store)
        self.modes = {inode.ino: inode.mode for inode in self.inodes()}
        self.paths = PathNames(self.dirents(), self.modes)

    def findings(self) -> Iterator[Finding]:
        """Yield what was found of broken rows since the last call."""
        new = list(self._faults)[self._given :]
        self._given += len(new)
        for ino, fault in new:
            path = self.paths.path(ino) if ino else None
            yield Finding("rows", f"{path or 'a row of no inode'}: {fault}", path)

    def is_told(self, ino: int) -> bool:
        """Tell whether a row of *ino* is broken."""
        return ino in self._told

    def is_there(self, ino: int) -> bool:
        """Tell whether there is an inode *ino*, in whatever state."""
        return ino in self.modes or ino in self._told

    def is_regular(self, ino: int) -> bool:
        """Tell whether *ino* is a regular file, or may be one."""
        return ino in self._told or stat.S_ISREG(self.modes.get(ino, 0))

    def inodes(self) -> Iterator[InodeRecord]:
        """Iterate over the inodes, by ino."""
        return self._counted(self.store.names.iter_inodes(self._tell))

    def dirents(self) -> Iterator[DirentRecord]:
        """Iterate over the names."""
        return self._counted(self.store.names.iter_dirents(self._tell))

    def targets(self) -> Iterator[tuple[int, bytes]]:
        """Iterate over ``(ino, target)`` of the symbolic links."""
        return self._counted(self.store.names.iter_targets(self._tell))

    def xattrs(self) -> Iterator[XattrRecord]:
        """Iterate over the extended attributes."""
        return self._counted(self.store.names.iter_xattrs(self._tell))

    def extents(self) -> Iterator[Extent]:
        """Iterate over the extents, by (ino, offset)."""
        return self._counted(self.store.space.iter_extents(told=self._tell))

    def content(self) -> Iterator[ContentRecord]:
        """Iterate over the written ranges, by (ino, offset)."""
        return self._counted(self.store.space.iter_content(self._tell))

    def _tell(self, ino: int, fault: str) -> None:
        self._told.add(ino)
        self._faults.setdefault((ino, fault), fault)

    def _counted(self, rows: Iterable[T]) -> Iterator[T]:
        for row in rows:
            self._read += 1
            if self._progress is not None and self._read % TICK == 0:
                self._progress(self._read)
            yield row
