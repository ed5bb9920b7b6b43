# SPDX-License-Identifier: MIT
"""copy_file_range(2): data goes from file to file inside the server.

Piece by piece, as a read and a write of the same bytes would: the source is shown while it is
read, the destination while it is written, never both at once.  So a copy waits for nobody who
could wait for it, and what others write meanwhile is copied or not, as between any two programs.

A hole of the source stays one where the destination has no data either.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from iomapd.control.points import touch
from iomapd.errors import IomapdError

if TYPE_CHECKING:
    from iomapd.cache.inode import Inode
    from iomapd.control.core import Core
    from iomapd.control.files import Files

PIECE: Final = 1 << 20  # bytes read at a time
COPIED_MAX: Final = 64 << 20
"""Bytes copied per request: the caller goes on by itself, and can be interrupted between."""


class Copier:
    """Copies ranges between the files of a mount."""

    def __init__(self, core: Core, files: Files) -> None:
        self._core = core
        self._files = files

    async def copy(self, source: Inode, pos: int, target: Inode, at: int, length: int) -> int:
        """Copy up to *length* bytes from *pos* of *source* to *at* of *target*.

        Returns:
            The bytes copied; fewer than asked for at EOF, at `COPIED_MAX`, or when something
            failed after the first of them.

        Raises:
            OSError: EINVAL, the ranges overlap in one file; and as `Files.write`.
            SpaceError: the volume is full.
            MemberError: a member failed.
        """
        end = min(pos + min(length, COPIED_MAX), source.size)
        if source is target and pos < at + length and at < pos + length:
            raise OSError(errno.EINVAL, "source and destination overlap")
        done = 0
        while pos + done < end:
            try:
                copied = await self._piece(source, pos + done, target, at + done, end)
            except (OSError, IomapdError):
                if not done:
                    raise
                break
            if not copied:
                break
            done += copied
        if done:
            # For a hole at the end, and only now: what is written behind a size is an append,
            # and given more room than it asks for.
            await self._files.extend(target, at + done)
            touch(target, data=True)
        return done

    async def _piece(self, source: Inode, pos: int, target: Inode, at: int, end: int) -> int:
        written, stop = self._core.marks.of(source).span(pos)
        end = min(end, source.size, end if stop is None else stop)
        if pos >= end:
            return 0  # the source was truncated meanwhile
        if not written and not self._core.marks.of(target).overlaps(at, at + end - pos):
            return end - pos  # nothing here, nothing there
        data = await self._files.read(source, pos, min(PIECE, end - pos))
        if not data:
            return 0
        # A view lasts until the next checkpoint.
        return await self._files.write(target, at, bytes(data))
