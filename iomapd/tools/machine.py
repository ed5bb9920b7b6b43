# SPDX-License-Identifier: MIT
"""What this machine is made of: versions, limits, programs.  Reads, never changes.

Every path is looked up under a root directory, so a test can show a machine
that it does not have.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

PAIR_WISH: Final = 8 << 20
"""Socket buffer the transport asks for, bytes."""

_SO_SNDBUFFORCE: Final = 32  # socket(7); not in Python's socket module


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine to be examined: its root directory and the user who asks."""

    root: Path = Path("/")
    uid: int = os.geteuid()

    def path(self, absolute: str) -> Path:
        """Return *absolute* under the machine's root."""
        return self.root / absolute.lstrip("/")

    def read(self, absolute: str) -> str | None:
        """Return the text of a small file without surrounding blanks, or None."""
        with suppress(OSError):
            return self.path(absolute).read_text(errors="replace").strip()
        return None

    def read_int(self, absolute: str) -> int | None:
        """Return the number in a file, or None when there is no file or no number."""
        text = self.read(absolute)
        return int(text) if text is not None and text.isdigit() else None


def describe() -> dict[str, object]:
    """Return what a measurement should carry with it: kernel, CPUs, memory, versions."""
    packages = ("iomapd", "numba", "llvmlite", "numpy", "pyfuse3", "trio")
    return {
        "kernel": platform.release(),
        "cpu": _cpu_model(Machine().read("/proc/cpuinfo") or ""),
        "cpus": os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "python": platform.python_version(),
        "fio": program_version("fio"),
        **{name: package_version(name) for name in packages},
    }


def package_version(name: str) -> str | None:
    """Return the version of an installed Python package without importing it, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def program_version(name: str, *arguments: str) -> str | None:
    """Return the version number a program prints for ``--version``, or None without it."""
    if shutil.which(name) is None:
        return None
    with suppress(OSError, subprocess.SubprocessError):
        command = [name, *(arguments or ("--version",))]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        found = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
        return found[0] if found else "unknown"
    return None


def largest_message() -> int:
    """Return the largest message a SEQPACKET pair of ours carries, bytes, up to 1 MiB + 8 KiB.

    Tried, not computed: the kernel's accounting of socket buffers has changed
    more than once.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        for option in (_SO_SNDBUFFORCE, socket.SO_SNDBUF):
            with suppress(PermissionError):
                ours.setsockopt(socket.SOL_SOCKET, option, PAIR_WISH)
                break
        for payload in (1 << 20, 512 << 10, 256 << 10, 128 << 10, 64 << 10):
            size = payload + 8192
            with suppress(OSError):
                ours.send(bytes(size), socket.MSG_DONTWAIT)
                return size
    return 0


def _cpu_model(cpuinfo: str) -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return found[1] if found else platform.machine()
