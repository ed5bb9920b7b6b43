# SPDX-License-Identifier: MIT
"""System calls on members that fail where a test says so: a medium as bad as wanted."""

import errno
import os


class Faulty:
    """Stands between the product and the kernel for preadv, pwritev and fdatasync.

    Args:
        monkeypatch: takes it away again.

    Attributes:
        bad: ``(fd, start, end, errno)``: any transfer that meets the range fails.
        short: at most so many bytes go through per call; 0: all.
        flushes: errno by fd: fdatasync fails.
    """

    def __init__(self, monkeypatch):
        self.bad, self.short, self.flushes = [], 0, {}
        self.calls = 0
        self._flush = os.fdatasync
        for name in ("preadv", "pwritev"):
            monkeypatch.setattr(os, name, self._wrapped(getattr(os, name)))
        monkeypatch.setattr(os, "fdatasync", self._fdatasync)

    def _wrapped(self, real):
        def call(fd, views, addr, flags=0):
            self.calls += 1
            views = list(views)
            length = sum(map(len, views))
            for bad_fd, start, end, number in self.bad:
                if fd == bad_fd and addr < end and start < addr + length:
                    if addr >= start:
                        raise OSError(number, os.strerror(number))
                    length = start - addr  # what lies before the fault goes through
            if self.short:
                length = min(length, self.short)
            return real(fd, _first(views, length), addr, flags)

        return call

    def _fdatasync(self, fd):
        if fd in self.flushes:
            raise OSError(self.flushes[fd], os.strerror(self.flushes[fd]))
        self._flush(fd)

    def fail(self, member, start=0, end=1 << 62, number=errno.EIO):
        """Let a range of a member's data area fail; bytes."""
        base = member.data_offset
        self.bad.append((member.fd, base + start, base + end, number))


def _first(views, length):
    taken = []
    for view in views:
        if length <= 0:
            break
        taken.append(memoryview(view)[:length])
        length -= len(taken[-1])
    return taken
