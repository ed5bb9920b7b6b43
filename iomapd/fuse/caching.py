# SPDX-License-Identifier: MIT
"""Who caches what files hold: the modes of ``-o cache=``.

    MODE     PAGES OF FILES      A WRITE COMES HERE          SIZE AND TIMES
    through  in the page cache   before write(2) returns     ours
    kernel   in the page cache   later: at close, fsync, 30 s, or for want of memory
                                                             the kernel's, told us by SETATTR
    none     nowhere             before write(2) returns     ours

What is opened with O_DIRECT goes past the page cache in each of them.  A shared mapping has
pages in each of them too: with ``none`` the kernel keeps them in step with reads and writes
(since Linux 6.6; before that it refuses such mappings).
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from iomapd.abi.fuse import FH_WRITE_CACHE, INIT_WRITEBACK_CACHE

if TYPE_CHECKING:
    from collections.abc import Callable

THROUGH: Final = "through"
KERNEL: Final = "kernel"
NONE: Final = "none"

MODES: Final = (THROUGH, KERNEL, NONE)
"""The first is the default: what write(2) acknowledged outlives the server."""


# The kernel sees every change itself: nobody else writes to the volume.
ATTR_TIMEOUT_S: Final = 3600
WRITTEN_BACK_TIMEOUT_S: Final = 1
"""Of regular files whose pages are written back: the kernel does not ask afterwards how much
space they have got."""


class Caching:
    """How one mount's files are cached.

    Args:
        mode: one of `MODES`.
        agreed: tells whether INIT agreed on a capability, INIT_* of abi/fuse.py.
    """

    def __init__(self, mode: str, agreed: Callable[[int], bool]) -> None:
        self._mode = mode
        self._agreed = agreed

    @property
    def writes_back(self) -> bool:
        """Whether a page may be newer than what we were told."""
        return self._agreed(INIT_WRITEBACK_CACHE)

    def opens_direct(self, flags: int) -> bool:
        """Tell whether reads and writes through a handle opened with *flags* skip the page cache.

        A kernel that writes back keeps the times of a file, but does not raise them for what
        FOPEN_DIRECT_IO lets past it (seen on Linux 6.18).  There O_DIRECT is the page cache's own:
        coherent, with the right times, and without direct writes of one file side by side.
        """
        return self._mode == NONE or (bool(flags & os.O_DIRECT) and not self.writes_back)

    def attr_timeout(self, mode: int) -> int:
        """Return how long the kernel may keep attributes of an inode with this mode, s."""
        if self.writes_back and stat.S_ISREG(mode):
            return WRITTEN_BACK_TIMEOUT_S
        return ATTR_TIMEOUT_S

    def keeps_times(self, fh: int) -> bool:
        """Tell whether the kernel itself keeps the times of a write, by its file handle."""
        return bool(fh & FH_WRITE_CACHE) and self.writes_back

    def describe(self) -> dict[str, str]:
        """Return what ``info`` says of it: the mode, and a sentence for people."""
        return {"mode": self._mode, "means": _MEANS[self._mode]}


_MEANS: Final = {
    THROUGH: "reads from the page cache, writes through it",
    KERNEL: "reads and writes in the page cache, written back later",
    NONE: "every read and write comes to the server",
}
