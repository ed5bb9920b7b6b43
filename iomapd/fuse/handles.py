# SPDX-License-Identifier: MIT
"""Open files, by the number that the kernel was given for each."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from iomapd.abi.fuse import FH_MASK

if TYPE_CHECKING:
    from iomapd.cache.inode import Inode


@dataclass(slots=True)
class Handle:
    """An open file; *told* once it has reported a failed flush to its closer."""

    inode: Inode
    flags: int
    told: bool = False

    @property
    def is_synchronous(self) -> bool:
        """Whether what is written through it must be durable before the reply."""
        return bool(self.flags & os.O_DSYNC)  # O_SYNC contains it

    @property
    def is_mappable(self) -> bool:
        """Whether it can be mapped shared and written to."""
        return self.flags & os.O_ACCMODE == os.O_RDWR


class Handles:
    """The open files of a mount."""

    def __init__(self) -> None:
        self._handles: dict[int, Handle] = {}
        self._numbers = itertools.count(1)
        self._mappable: Counter[int] = Counter()

    def __getitem__(self, fh: int) -> Handle:
        return self._handles[fh & FH_MASK]

    def add(self, inode: Inode, flags: int) -> int:
        """Note that *inode* is open; return the handle's number."""
        number = next(self._numbers)
        handle = self._handles[number] = Handle(inode, flags, told=inode.failed)
        if handle.is_mappable:
            self._mappable[inode.ino] += 1
        inode.opens += 1
        return number

    def pop(self, fh: int) -> Handle:
        """Take a handle out: its last reference is gone, mappings included."""
        handle = self._handles.pop(fh)
        if handle.is_mappable:
            self._mappable[handle.inode.ino] -= 1
            if not self._mappable[handle.inode.ino]:
                del self._mappable[handle.inode.ino]
        return handle

    def may_be_mapped(self, ino: int) -> bool:
        """Tell whether somebody may have a shared mapping to write to *ino* through.

        Only what is open for reading and writing can be mapped so, and a mapping keeps it open.
        """
        return ino in self._mappable
