# SPDX-License-Identifier: MIT
"""What a lane adds to the system calls of a request.

Question
    How many nanoseconds lie between a request that has been read and its reply, besides the
    system calls that move the bytes, for mapped and buffered members and units of 4 KiB
    and 64 KiB?

Sketch
    A read of 4 KiB is one look into the entry, one piece and one writev: 100 to 200 ns.  A
    MiB in units of 64 KiB is 16 pieces of some 10 ns each; in units of 4 KiB 256.  A member's
    preadv of cached pages copies some 10 GB/s, 100 us for a MiB: the pieces should not show.

Baseline
    The same loop around one writev of the header alone.  Replies go to /dev/null, which takes
    any length and looks at nothing, so a mapped read costs no copy here; on a mount the kernel
    copies the bytes once.

Meaningless if
    something else keeps the CPUs busy: look at the least of the rounds, not at their median.

Run
    .venv/bin/python bench/serve_cost.py
"""

from __future__ import annotations

import os
import struct
import time
from array import array
from statistics import median

from iomapd.abi.fuse import READ, WRITE
from iomapd.cache import entry as words
from iomapd.dataplane import plane as planes
from iomapd.dataplane.engine import encode
from iomapd.dataplane.plane import BUFFERED, MAPPED, MemberAccess, Plane
from iomapd.dataplane.request import COOKIE, HEADER, IOV, LENGTH, MESSAGE, NO_COOKIE
from iomapd.dataplane.serve import serve
from iomapd.jit.unit import load_unit
from iomapd.mapping.extent import Extent, Strip
from iomapd.native.memory import copy, load64, store64
from iomapd.native.region import Region
from iomapd.native.syscalls import writev
from iomapd.native.view import FileView

KIB, MIB = 1 << 10, 1 << 20
INO, NR_MEMBERS, MEMBER_SIZE = 5, 4, 4 * MIB
ROUNDS = 101


def serve_often(plane: int, request: int, stats: int, count: int) -> int:
    """Serve the same request *count* times."""
    for _ in range(count):
        store64(request + COOKIE, NO_COOKIE)
        serve(plane, request, stats)
    return 1


def answer_often(dev: int, iov: int, count: int) -> int:
    """Write one reply *count* times and nothing else."""
    for _ in range(count):
        writev(dev, iov, 1)
    return 1


class Target:
    """One file on four members in memory; replies go to /dev/null."""

    def __init__(self, mode: int, unit: int) -> None:
        self.fds = [os.memfd_create(f"member{n}") for n in range(NR_MEMBERS)]
        for fd in self.fds:
            os.pwrite(fd, bytes([1]) * MEMBER_SIZE, 0)
        self.views = [FileView(fd, 0, MEMBER_SIZE) for fd in self.fds]
        self.plane = Plane(
            [
                MemberAccess(n + 1, fd, 0, MEMBER_SIZE, n, mode, view.addr, view.size)
                for n, (fd, view) in enumerate(zip(self.fds, self.views, strict=True))
            ]
        )
        self.null = os.open("/dev/null", os.O_WRONLY)
        self.table = Region(words.BUCKET_SIZE)
        strips = tuple(Strip(n + 1, 0) for n in range(NR_MEMBERS))
        extent = Extent(INO, 0, 4 * MIB, 1, unit, INO, MIB, MIB, strips)
        self.extent = encode(extent)
        self.block = array("q", [1, 0, extent.end, self.extent.addr])
        for word, value in (
            (words.INO, INO), (words.SIZE, extent.end), (words.ATIME, 1 << 62),
            (words.EXTENTS, self.block.buffer_info()[0]),
        ):  # fmt: skip
            store64(self.table.addr + word, value)
        for word, value in (
            (planes.ENTRIES, self.table.addr), (planes.NR_BUCKETS, 1), (planes.DEV, self.null),
        ):  # fmt: skip
            self.plane.set(word, value)
        self.request = self.plane.request(0)

    def load(self, opcode: int, size: int) -> None:
        """Put a request for the first *size* bytes into the buffer."""
        body = struct.pack("<QQIIQII", 1, 0, size, 0, 0, 0, 0)
        body += bytes(size) if opcode == WRITE else b""
        head = struct.pack("<IIQQIIIHH", 40 + len(body), opcode, 2, INO, 0, 0, 0, 0, 0)
        message = array("b", head + body)
        copy(load64(self.request + MESSAGE), message.buffer_info()[0], len(message))
        store64(self.request + LENGTH, len(message))

    def close(self) -> None:
        """Give the members back."""
        for view in self.views:
            view.close()
        for fd in (*self.fds, self.null):
            os.close(fd)


def main() -> None:
    """Measure and print."""
    unit = load_unit("serve-cost", [serve_often, answer_often])
    often, bare = unit.function("serve_often"), unit.function("answer_often")
    rows = []
    for mode, name in ((MAPPED, "mapped"), (BUFFERED, "buffered")):
        for stripe in (4 * KIB, 64 * KIB):
            target = Target(mode, stripe)
            for opcode, verb in ((READ, "read"), (WRITE, "write")):
                for size in (4 * KIB, MIB):
                    target.load(opcode, size)
                    call = (target.plane.addr, target.request, target.plane.statistics_block(0))
                    count = 200 if size < MIB else 5
                    iov = load64(target.request + IOV)
                    store64(iov, load64(target.request + HEADER))
                    store64(iov + 8, 16)
                    base = measure(lambda n, t=target, i=iov: bare(t.null, i, n), 200)
                    cost = measure(lambda n, c=call: often(*c, n), count)
                    rows.append([
                        name, f"{stripe // KIB} KiB", verb, f"{size // KIB} KiB",
                        f"{min(cost):.0f}", f"{median(cost):.0f}", f"{min(base):.0f}",
                    ])  # fmt: skip
            target.close()
    head = ["members", "unit", "request", "size", "ns", "median", "bare reply ns"]
    print(f"{ROUNDS} rounds, the least and the median of each\n")
    for row in [head, *rows]:
        print("".join(cell.ljust(12) for cell in row))


def measure(run: object, count: int) -> list[float]:
    """Return ns per request of each round."""
    found = []
    for _ in range(ROUNDS):
        start = time.perf_counter_ns()
        run(count)  # type: ignore[operator]
        found.append((time.perf_counter_ns() - start) / count)
    return found


if __name__ == "__main__":
    main()
