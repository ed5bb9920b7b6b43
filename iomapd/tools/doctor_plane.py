# SPDX-License-Identifier: MIT
"""What the data plane finds on this machine: compiled lanes, memory that outlives a server, BPF.

Nothing here stops a mount: what is missing costs speed, or a promise that is named.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from iomapd.cache.table import SIZE
from iomapd.geometry.sizes import format_size
from iomapd.jit.bpf.kernel import why_not
from iomapd.native.syscalls import compiled_here
from iomapd.tools.finding import Finding
from iomapd.tools.machine import package_version
from iomapd.transport.lanes import are_compiled

if TYPE_CHECKING:
    from iomapd.tools.machine import Machine

# A table in use: its entries, and bitmaps for some hundred GiB of files being written.
_TABLE_IN_USE: Final = 16 << 20


def lanes(_: Machine) -> Finding:
    """Lanes are compiled for this processor, once."""
    why = "serve large reads and writes without Python; without them Python does, slower"
    if not compiled_here():
        return Finding("lanes", "info", "none: no system call numbers for this processor", why)
    cpus = len(os.sched_getaffinity(0))
    found = f"{cpus} for members in memory, 4 per member on devices"
    if are_compiled():
        return Finding("lanes", "ok", f"compiled; {found}", why)
    if package_version("numba") is None:
        return Finding("lanes", "warn", "not compiled, and no numba", why, "pip install numba")
    return Finding("lanes", "ok", f"the first mount compiles them, about 20 s; {found}", why)


def shared_memory(machine: Machine) -> Finding:
    """The table of inodes in use lies in memory that outlives a server."""
    why = "a killed server leaves there what it had acknowledged, for the next mount to take over"
    place = machine.path("/dev/shm")
    if not os.access(place, os.W_OK):
        found = "not writable; the runtime directory takes its place"
        mend = "mount -t tmpfs -o mode=1777 tmpfs /dev/shm"
        return Finding("/dev/shm", "warn", found, why, mend)
    status = os.statvfs(place)
    free = status.f_bavail * status.f_frsize
    found = f"{format_size(free)} free; a mount takes {format_size(SIZE)} at most"
    if free >= _TABLE_IN_USE:
        return Finding("/dev/shm", "ok", found, why)
    return Finding("/dev/shm", "warn", found, why, "mount -o remount,size=256M /dev/shm")


def verifier(_: Machine) -> Finding:
    """The kernel's verifier judges mapping programs as well, where it may be asked."""
    why = "programs are proved here in any case; the kernel's verifier is a second opinion"
    reason = why_not()
    if reason:
        return Finding("BPF verifier", "info", reason, why)
    return Finding("BPF verifier", "ok", "may be asked", why)
