# SPDX-License-Identifier: MIT
"""What this machine can do for iomapd, what is missing, and the command that mends it.

Each check is a function from a machine to one finding.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import stat
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from iomapd.geometry.sizes import format_size
from iomapd.tools.doctor_plane import lanes, shared_memory, verifier
from iomapd.tools.finding import Finding, Status
from iomapd.tools.machine import Machine, largest_message, package_version, program_version

ONE_MIB: Final = 1 << 20
_PAGE: Final = 4096


def examine(machine: Machine | None = None) -> list[Finding]:
    """Return a finding of every check, in the order a person should read them."""
    machine = Machine() if machine is None else machine
    return [check(machine) for check in CHECKS]


def report(findings: list[Finding]) -> dict[str, Any]:
    """Return the body of ``iomapd doctor --json``."""
    worst = next((s for s in ("fail", "warn") if any(f.status == s for f in findings)), "ok")
    return {
        "schema": "iomapd.doctor",
        "version": 1,
        "status": worst,
        "checks": [asdict(finding) for finding in findings],
    }


def kernel(machine: Machine) -> Finding:
    """The kernel's FUSE must be recent enough."""
    release = machine.read("/proc/sys/kernel/osrelease") or platform.release()
    numbers = release.split("-")[0].split(".")
    known = tuple(int(n) for n in numbers[:2]) if all(n.isdigit() for n in numbers[:2]) else (0, 0)
    why = "6.6 has parallel direct writes and mmap beside O_DIRECT; 5.4 has 1 MiB requests"
    if known >= (6, 6):
        return Finding("kernel", "ok", release, why)
    status: Status = "warn" if known >= (5, 4) else "fail"
    return Finding("kernel", status, release, why, "boot a newer kernel")


def fuse_device(machine: Machine) -> Finding:
    """/dev/fuse must be there and open to this user."""
    why = "every FUSE mount goes through it"
    device = machine.path("/dev/fuse")
    if not device.exists():
        mend = "modprobe fuse (in a container: docker run --device /dev/fuse --cap-add SYS_ADMIN)"
        return Finding("/dev/fuse", "fail", "missing", why, mend)
    if not os.access(device, os.R_OK | os.W_OK):
        mode = f"{stat.S_IMODE(device.stat().st_mode):04o}"
        return Finding("/dev/fuse", "fail", f"mode {mode}", why, "chmod 0666 /dev/fuse")
    return Finding("/dev/fuse", "ok", "readable and writable", why)


def fusermount(machine: Machine) -> Finding:
    """Ordinary users mount through the set-user-id helper."""
    why = "mounts for ordinary users; root does without"
    place = shutil.which("fusermount3")
    if place is None:
        status: Status = "warn" if machine.uid == 0 else "fail"
        return Finding("fusermount3", status, "missing", why, "apt-get install fuse3")
    if not Path(place).stat().st_mode & stat.S_ISUID:
        return Finding("fusermount3", "warn", "not set-user-id", why, f"chmod u+s {place}")
    return Finding("fusermount3", "ok", program_version("fusermount3") or place, why)


def allow_other(machine: Machine) -> Finding:
    """An ordinary user's mount is that user's alone unless the administrator agrees."""
    why = "lets ordinary users give -o allow_other; root may always"
    lines = (machine.read("/etc/fuse.conf") or "").splitlines()
    if any(line.strip() == "user_allow_other" for line in lines):
        return Finding("user_allow_other", "ok", "set in /etc/fuse.conf", why)
    mend = "" if machine.uid == 0 else "echo user_allow_other | sudo tee -a /etc/fuse.conf"
    return Finding("user_allow_other", "info", "not set in /etc/fuse.conf", why, mend)


def socket_pair(machine: Machine) -> Finding:
    """Requests to Python cross a socket pair whose size net.core.wmem_max bounds."""
    why = "the largest request is what a socket pair carries: 1MiB needs a large wmem_max, or root"
    size = largest_message()
    limit = machine.read_int("/proc/sys/net/core/wmem_max")
    found = f"requests up to {format_size(max(size - 8192, 0))} (wmem_max {limit})"
    if size >= ONE_MIB + 8192:
        return Finding("socket pair", "ok", found, why)
    return Finding("socket pair", "warn", found, why, "sysctl -w net.core.wmem_max=4194304")


def max_pages(machine: Machine) -> Finding:
    """The kernel bounds the pages of one request."""
    why = "bounds one request; 256 pages are 1MiB"
    limit = machine.read_int("/proc/sys/fs/fuse/max_pages_limit")
    if limit is None:  # a sysctl since Linux 6.13; a constant before
        return Finding("max_pages_limit", "ok", "256 pages, fixed in this kernel", why)
    found = f"{limit} pages ({format_size(limit * _PAGE)})"
    if limit * _PAGE >= ONE_MIB:
        return Finding("max_pages_limit", "ok", found, why)
    return Finding("max_pages_limit", "warn", found, why, "sysctl -w fs.fuse.max_pages_limit=256")


def fusectl(machine: Machine) -> Finding:
    """The control file system can end a mount whose server is stuck."""
    why = "tunes connections and ends a stuck mount (iomapd umount --force)"
    if machine.path("/sys/fs/fuse/connections").is_mount():
        return Finding("fusectl", "ok", "mounted", why)
    if machine.uid == 0:
        return Finding("fusectl", "info", "not mounted; iomapd mount does it", why)
    mend = "sudo mount -t fusectl fusectl /sys/fs/fuse/connections"
    return Finding("fusectl", "warn", "not mounted", why, mend)


def read_ahead(machine: Machine) -> Finding:
    """Only root may raise read-ahead above the default."""
    why = "buffered sequential reads are bounded by read-ahead"
    if machine.uid == 0:
        return Finding("read-ahead", "ok", "raised at mount", why)
    mend = "mount as root, or read with O_DIRECT"
    return Finding("read-ahead", "info", "stays at 128KiB for ordinary users", why, mend)


def uring(machine: Machine) -> Finding:
    """FUSE over io_uring, where the kernel offers it."""
    why = "halves the cost of small requests; not used yet"
    value = machine.read("/sys/module/fuse/parameters/enable_uring")
    if value is None:
        return Finding("FUSE over io_uring", "info", "not in this kernel", why)
    return Finding("FUSE over io_uring", "info", "on" if value in ("Y", "1") else "off", why)


def io_uring(machine: Machine) -> Finding:
    """Benches with a queue depth want io_uring."""
    why = "iomapd bench keeps several requests in flight with it; libaio takes its place"
    value = machine.read_int("/proc/sys/kernel/io_uring_disabled")
    allowed = value in (None, 0) or (value == 1 and machine.uid == 0)
    if allowed:
        return Finding("io_uring", "ok", "allowed", why)
    return Finding("io_uring", "info", "disabled", why, "sysctl -w kernel.io_uring_disabled=0")


def lockdown(machine: Machine) -> Finding:
    """Kernel lockdown takes bpf(2) and others away."""
    why = "lockdown and unprivileged_bpf_disabled decide who may ask the kernel's verifier"
    state = machine.read("/sys/kernel/security/lockdown") or "[none]"
    chosen = state.partition("[")[2].partition("]")[0] or "none"
    bpf = machine.read_int("/proc/sys/kernel/unprivileged_bpf_disabled")
    found = f"{chosen}, unprivileged_bpf_disabled {'absent' if bpf is None else bpf}"
    return Finding("lockdown", "info", found, why)


def libfuse(machine: Machine) -> Finding:
    """pyfuse3 is linked against libfuse3."""
    why = "speaks the FUSE protocol for the control plane"
    try:
        library = ctypes.CDLL("libfuse3.so.3")
    except OSError:
        try:
            library = ctypes.CDLL("libfuse3.so.4")
        except OSError:
            return Finding("libfuse3", "fail", "missing", why, "apt-get install libfuse3-dev")
    library.fuse_pkgversion.restype = ctypes.c_char_p
    return Finding("libfuse3", "ok", library.fuse_pkgversion().decode(), why)


def python(machine: Machine) -> Finding:
    """The interpreter."""
    why = "3.11 is the oldest supported"
    return Finding("Python", "ok", platform.python_version(), why)


def loop_devices(machine: Machine) -> Finding:
    """Loop devices turn files into block devices."""
    why = "devices/ makes block members from files with them; root only"
    if not machine.path("/dev/loop-control").exists():
        return Finding("loop devices", "info", "none", why, "modprobe loop")
    found = "usable" if machine.uid == 0 else "there, for root"
    return Finding("loop devices", "ok", found, why)


def fio(machine: Machine) -> Finding:
    """Bench and demo drive fio."""
    why = "iomapd bench and iomapd demo measure and verify with it"
    found = program_version("fio")
    if found is None:
        return Finding("fio", "warn", "missing", why, "apt-get install fio")
    return Finding("fio", "ok", found, why)


def mount_helper(machine: Machine) -> Finding:
    """mount(8) runs /sbin/mount.fuse.iomapd for entries in fstab."""
    why = "fstab entries of type fuse.iomapd"
    for directory in ("/sbin", "/usr/sbin", "/usr/local/sbin"):
        if machine.path(f"{directory}/mount.fuse.iomapd").exists():
            return Finding("mount helper", "ok", f"{directory}/mount.fuse.iomapd", why)
    place = Path(sys.executable).with_name("mount.fuse.iomapd")
    mend = f"ln -s {place} /sbin/mount.fuse.iomapd"
    return Finding("mount helper", "info", "not in /sbin", why, mend)


def package(name: str, status: Status, why: str, mend: str) -> Callable[[Machine], Finding]:
    """Return the check for a Python package; *status* is what its absence means."""

    def check(machine: Machine) -> Finding:
        found = package_version(name)
        if found is None:
            return Finding(name, status, "missing", why, mend)
        return Finding(name, "ok", found, why)

    return check


CHECKS: Final[list[Callable[[Machine], Finding]]] = [
    kernel,
    fuse_device,
    fusermount,
    allow_other,
    fusectl,
    socket_pair,
    max_pages,
    read_ahead,
    lanes,
    shared_memory,
    uring,
    python,
    libfuse,
    package("pyfuse3", "fail", "the control plane's FUSE server", "pip install pyfuse3"),
    package("trio", "fail", "structured concurrency of the control plane", "pip install trio"),
    package("numba", "fail", "compiles relays, lanes and mapping programs", "pip install numba"),
    package("llvmlite", "fail", "loads what numba compiled", "pip install llvmlite"),
    package("numpy", "fail", "records shared by compiled and plain code", "pip install numpy"),
    fio,
    io_uring,
    package("matplotlib", "info", "charts of iomapd bench", "pip install 'iomapd[charts]'"),
    loop_devices,
    verifier,
    lockdown,
    mount_helper,
]
