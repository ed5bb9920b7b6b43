# SPDX-License-Identifier: MIT
"""What a test run leaves on the machine, and how each kind is found and removed.

Four things outlive a careless test: a mount, a loop device, a server process, a
file in memory.  Each is found through the kernel, never through what the test
remembers: mounts in /proc/self/mountinfo, loop devices in /sys/block, processes
by a token in their environment.  So a test that died half-way is cleaned up like
one that ended, and nothing of anybody else is touched.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Every process started under a test run inherits this variable; its value is unique per run.
RUN_TOKEN = "IOMAPD_TEST_RUN"
CONNECTIONS = Path("/sys/fs/fuse/connections")


@dataclass(frozen=True, slots=True)
class MountEntry:
    """One line of mountinfo; *connection* is the FUSE connection number (device minor)."""

    target: str
    fstype: str
    source: str
    connection: int
    options: str


def mounts() -> list[MountEntry]:
    """Every mount of this namespace, in the order in which they were made."""
    entries = []
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        left, right = line.split(" - ", 1)
        fields, (fstype, source, options) = left.split(" "), right.split(" ", 2)
        minor = int(fields[2].split(":")[1])
        options = f"{fields[5]},{options}"
        entries.append(MountEntry(unescape(fields[4]), fstype, unescape(source), minor, options))
    return entries


def unescape(text: str) -> str:
    """Undo mountinfo's octal escapes of blank, tab, newline and backslash."""
    return re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), text)


def fuse_mounts_under(base: Path) -> list[MountEntry]:
    """FUSE mounts at or below *base*, innermost last."""
    inside = f"{base}/"
    return [
        m
        for m in mounts()
        if m.fstype.startswith("fuse")
        and m.fstype != "fusectl"
        and f"{m.target}/".startswith(inside)
    ]


def abort_connection(connection: int) -> bool:
    """End a FUSE connection whose server no longer answers; every waiter gets ECONNABORTED.

    Returns:
        Whether the kernel was told: needs fusectl, and to be the mount's owner or root.
    """
    if os.geteuid() == 0 and not any(m.fstype == "fusectl" for m in mounts()):
        subprocess.run(["mount", "-t", "fusectl", "none", CONNECTIONS], check=False)
    try:
        (CONNECTIONS / str(connection) / "abort").write_text("1\n")
    except OSError:
        return False
    return True


def detach_mount(target: str) -> None:
    """Take a mount out of the tree whatever state it is in."""
    command = ["umount", "-l"] if os.geteuid() == 0 else ["fusermount3", "-u", "-z", "-q"]
    subprocess.run([*command, target], check=False, capture_output=True, timeout=20)


def wait_for_mounts(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until *condition* holds; asked again whenever the mount table changes.

    The kernel reports a change of the table as POLLERR | POLLPRI on mountinfo, so
    nothing here has to guess how long a mount takes.
    """
    deadline = time.monotonic() + seconds
    with open("/proc/self/mountinfo") as table:
        poll = select.poll()
        poll.register(table, select.POLLERR | select.POLLPRI)
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            poll.poll(min(left, 1.0) * 1000)
    return True


def wait_for_exit(pid: int, seconds: float) -> bool:
    """Wait until process *pid*, of whatever parent, has ended; False on a timeout."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        ready, _, _ = select.select([pidfd], [], [], seconds)
        return bool(ready)
    finally:
        os.close(pidfd)


def kill_and_wait(pid: int, seconds: float = 20.0) -> bool:
    """SIGKILL *pid* and wait for its end."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return wait_for_exit(pid, seconds)


def processes_with(variable: str, value: str) -> list[int]:
    """Live processes whose environment holds ``variable=value``, this one excepted."""
    wanted = f"{variable}={value}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        # Gone meanwhile, or of somebody else: then not ours.
        with contextlib.suppress(OSError):
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def command_line(pid: int) -> str:
    """The command line of *pid* for a message; empty when it has gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    return ""


def loop_devices_under(base: Path) -> dict[str, str]:
    """Loop devices whose backing file lies below *base*: device path -> backing file."""
    found = {}
    for attribute in Path("/sys/block").glob("loop*/loop/backing_file"):
        # A device detached between glob and read has no backing file any more.
        with contextlib.suppress(OSError):
            backing = attribute.read_text().strip().removesuffix(" (deleted)")
            if backing.startswith(f"{base}/"):
                found[f"/dev/{attribute.parent.parent.name}"] = backing
    return found


def attach_loop(backing: Path) -> str:
    """Attach a loop device to *backing* and return its path."""
    done = subprocess.run(
        ["losetup", "--find", "--show", str(backing)],
        check=True,
        capture_output=True,
        text=True,
        timeout=20,
    )
    return done.stdout.strip()


def detach_loops(base: Path) -> None:
    """Detach every loop device that rests on a file below *base*."""
    for device in loop_devices_under(base):
        subprocess.run(["losetup", "-d", device], check=False, capture_output=True, timeout=20)


def spoil(path: Path, start: int, length: int) -> None:
    """Put bytes into a member that were there from before, and must never be seen."""
    with path.open("r+b") as member:
        member.seek(start)
        member.write(b"\xee" * length)


def memory_home() -> Path:
    """Where this run keeps members that live in memory."""
    return Path(f"/dev/shm/iomapd-test-{os.environ[RUN_TOKEN]}")


def sweep(bases: Iterable[Path], token: str) -> list[str]:
    """Remove what a test run left below *bases* or running; say what there was.

    Order matters: a connection must be aborted before its server is killed, or a
    process that waits in the mount keeps both alive.
    """
    left = []
    for base in bases:
        for entry in reversed(fuse_mounts_under(base)):
            left.append(f"mount {entry.target} (connection {entry.connection})")
            abort_connection(entry.connection)
            detach_mount(entry.target)
    for pid in processes_with(RUN_TOKEN, token):
        left.append(f"process {pid}: {command_line(pid)}")
        kill_and_wait(pid)
    for base in bases:
        left += [f"loop device {d} on {f}" for d, f in loop_devices_under(base).items()]
        detach_loops(base)
    return left
