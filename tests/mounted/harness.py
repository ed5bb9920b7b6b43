# SPDX-License-Identifier: MIT
"""A volume for tests: made, mounted, killed and taken away through the command line.

Tests speak to iomapd as a user does: with its commands.  They run inside the test's
process, which saves half a second of Python start each; `run_program` runs the real
program where the process itself matters.  A Volume cleans up after itself in every
state: `close` ends a stuck mount by its abort file, kills the server and detaches its
loop devices; `plumbing.sweep` catches what even that misses.

HostVolume has the same methods over a plain directory.  With IOMAPD_TEST_HOST=1 the
tests run on it: whatever fails there is a mistake in the test, not in iomapd.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.mounted import plumbing

ROOT = Path(__file__).parent.parent.parent
ON_HOST = os.environ.get("IOMAPD_TEST_HOST") == "1"
SOAK = int(os.environ.get("IOMAPD_SOAK", "0"))
# Set by variants that run every mounted test in another way.
LANES = os.environ.get("IOMAPD_TEST_LANES")
IO_MODE = os.environ.get("IOMAPD_TEST_IO")
MAPPER = os.environ.get("IOMAPD_TEST_MAPPER")
CACHE = os.environ.get("IOMAPD_TEST_CACHE")
VOLUME_TOKEN = "IOMAPD_TEST_VOLUME"
COMMAND_SECONDS = 60
COMPLAINT = re.compile(
    r"\b(WARNING|ERROR|CRITICAL)\b|Traceback|Warning:|\bException\b|Fatal Python"
)


def soak(quick: int, factor: int = 20) -> int:
    """*quick*, or *factor* times as much (times IOMAPD_SOAK) in a soak run."""
    return quick * factor * SOAK if SOAK else quick


def is_root() -> bool:
    """Whether the tests run with root's powers."""
    return os.geteuid() == 0


Done = subprocess.CompletedProcess


def run_cli(*arguments: object, token: str = "") -> Done[str]:
    """Run one iomapd command in this process; its exit status is the caller's business.

    Args:
        arguments: the command line; paths in it are absolute.
        token: put into the environment of whatever the command starts.
    """
    from iomapd.cli.main import main

    words, out, err = [str(a) for a in arguments], io.StringIO(), io.StringIO()
    os.environ[VOLUME_TOKEN] = token
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(words)
    finally:
        # Only what the command starts is the volume's, not the test's own helpers.
        del os.environ[VOLUME_TOKEN]
    return Done(["iomapd", *words], status, out.getvalue(), err.getvalue())


def run_program(*arguments: object, cwd: Path, seconds: float = COMMAND_SECONDS) -> Done[str]:
    """Run ``python -m iomapd`` in *cwd*, as a shell would."""
    return subprocess.run(
        [sys.executable, "-m", "iomapd", *map(str, arguments)],
        cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        errors="surrogateescape", timeout=seconds, check=False,
    )  # fmt: skip


class CommandFailedError(AssertionError):
    """An iomapd command that had to succeed did not; carries what it printed."""

    def __init__(self, done: Done[str], log: str) -> None:
        super().__init__(
            f"{' '.join(done.args[1:])} exited with {done.returncode}\n"
            f"stdout: {done.stdout}\nstderr: {done.stderr}\nlog: {log}"
        )


class Volume:
    """A striped volume under *base*.

    Attributes:
        mnt: the mountpoint; `mnt / name` is a path inside.
        layout: the layout file.
        backing: files that hold the members' bytes, in index order.
        members: what the layout file names; loop devices or the backing files.
    """

    def __init__(
        self,
        base: Path,
        *,
        members: int = 4,
        unit: str = "64KiB",
        sizes: tuple[str, ...] = ("64MiB",),
        loop: bool = False,
        memory: bool = False,
        lanes: str | None = LANES,
    ) -> None:
        """Plan a volume; nothing is made before `create`.

        Args:
            base: a directory of this volume's own; made when missing.
            members: number of members; >= 1.
            unit: stripe unit as written in the layout file.
            sizes: member sizes as written in the layout file, repeated cyclically.
            loop: put members on loop devices (root only).
            memory: keep members under /dev/shm.
            lanes: value of ``mount --lanes``; None leaves the default.
        """
        self.base = base
        self.unit = unit
        self.loop = loop
        self.lanes = lanes
        self.token = uuid.uuid4().hex
        self.mnt = base / "mnt"
        self.layout = base / "volume.toml"
        self.store = base / "volume.db"
        self.log = base / "server.log"
        self.mount_options: tuple[str, ...] = ()
        # Cleared by tests that damage a member: fsck has something to say then.
        self.is_whole = True
        self._expected: list[re.Pattern[str]] = []
        self._log_seen = 0
        self._memory = plumbing.memory_home() / self.token[:12] if memory else None
        member_home = self._memory or base
        self.sizes = [sizes[i % len(sizes)] for i in range(members)]
        self.backing = [member_home / f"m{i}.img" for i in range(members)]
        self.members = list(self.backing)
        for directory in (base, self.mnt, member_home):
            directory.mkdir(exist_ok=True, parents=True)

    # --- commands ---------------------------------------------------------

    def cli(self, *arguments: object, check: bool = True) -> Done[str]:
        """Run an iomapd command for this volume.

        Raises:
            CommandFailedError: it exited with another status than 0 and *check* is set.
        """
        done = run_cli(*arguments, token=self.token)
        if check and done.returncode != 0:
            raise CommandFailedError(done, self.log_tail())
        return done

    def create(self, *options: str) -> Volume:
        """Make the members, write the layout file and create the volume."""
        if self.loop:
            for path, size in zip(self.backing, self.sizes, strict=True):
                with path.open("wb") as image:
                    image.truncate(bytes_of(size))
            self.members = [Path(plumbing.attach_loop(path)) for path in self.backing]
        self.layout.write_text(self.layout_text())
        self.cli("create", self.layout, *options)
        return self

    def layout_text(self) -> str:
        """The layout file as a user would write it."""
        lines = [
            "[volume]",
            'name = "test"',
            f'unit = "{self.unit}"',
            'program = "raid0"',
            f'metadata = "{self.store.name}"',
        ]
        for path, size in zip(self.members, self.sizes, strict=True):
            lines += ["", "[[member]]", f'path = "{path}"']
            # A block device keeps its size: the key belongs to image files.
            lines += [] if self.loop else [f'size = "{size}"', "sparse = true"]
        return "\n".join(lines) + "\n"

    def mount(self, *options: str) -> Volume:
        """Mount; *options* are ``-o`` values, remembered for `remount`."""
        self.mount_options = options
        arguments: list[object] = ["mount", self.layout, self.mnt, "--log", self.log]
        for key, value in (("io", IO_MODE), ("cache", CACHE)):
            if value is not None and not any(option.startswith(f"{key}=") for option in options):
                options = (*options, f"{key}={value}")
        if options:
            arguments += ["-o", ",".join(options)]
        if self.lanes is not None:
            arguments += ["--lanes", self.lanes]
        self.cli(*arguments)
        return self

    def umount(self, *, check: bool = True) -> Done[str]:
        """Unmount through the command line; returns when all is committed."""
        return self.cli("umount", self.mnt, check=check)

    def remount(self, *options: str) -> Volume:
        """Unmount and mount again, with the same options unless others are given."""
        self.umount()
        return self.mount(*(options or self.mount_options))

    def kill9(self) -> None:
        """Kill the server without warning and clear away the dead mount."""
        for pid in self.server_pids():
            assert plumbing.kill_and_wait(pid), f"server {pid} survives SIGKILL"
        self._detach()

    def crash_and_mount(self) -> Volume:
        """SIGKILL the server, then mount again as the user of a crashed machine would."""
        self.kill9()
        return self.mount(*self.mount_options)

    def terminate(self) -> None:
        """SIGTERM the server: an orderly unmount; returns when it is gone."""
        for pid in self.server_pids():
            os.kill(pid, signal.SIGTERM)
            assert plumbing.wait_for_exit(pid, 30), f"server {pid} ignores SIGTERM"

    # --- questions --------------------------------------------------------

    def info(self) -> dict[str, Any]:
        """The body of ``info --json`` for the mountpoint."""
        return json.loads(self.cli("info", "--json", self.mnt).stdout)

    def map(self, path: Path) -> dict[str, Any]:
        """The body of ``map --json`` for a file inside; makes it durable first."""
        return json.loads(self.cli("map", "--json", path).stdout)

    def mapped_bytes(self, path: Path) -> bytes:
        """The file's bytes, read from the members where ``map --json`` says they are."""
        answer = self.map(path)
        content = bytearray(answer["size"])
        for piece in answer["extents"]:
            if piece["type"] != "mapped":
                continue
            start, end = piece["offset"], min(piece["offset"] + piece["length"], answer["size"])
            with open(piece["path"], "rb", buffering=0) as member:
                content[start:end] = os.pread(member.fileno(), end - start, piece["address"])
        return bytes(content)

    def fsck(self) -> list[str]:
        """What ``fsck`` finds; a volume that was only used has nothing to find."""
        done = self.cli("fsck", "--json", self.layout, check=False)
        return [] if done.returncode == 0 else [f"fsck: {done.stdout}{done.stderr}"]

    def is_mounted(self) -> bool:
        """Whether the kernel lists a mount at the mountpoint."""
        return any(m.target == str(self.mnt) for m in plumbing.mounts())

    def server_pids(self) -> list[int]:
        """Processes that this volume's commands started and that still live."""
        return plumbing.processes_with(VOLUME_TOKEN, self.token)

    def server_pid(self) -> int:
        """The one server; also what ``info --json`` must answer."""
        (pid,) = self.server_pids()
        return pid

    # --- the log ----------------------------------------------------------

    def expect_log(self, pattern: str) -> None:
        """Declare that complaints matching *pattern* belong to this test."""
        self._expected.append(re.compile(pattern))

    def new_complaints(self) -> list[str]:
        """Lines of the server's log since the last call that no test declared."""
        if not self.log.exists():
            return []
        with self.log.open(errors="replace") as log:
            log.seek(self._log_seen)
            text = log.read()
            self._log_seen = log.tell()
        return [
            line
            for line in text.splitlines()
            if COMPLAINT.search(line) and not any(p.search(line) for p in self._expected)
        ]

    def log_tail(self, lines: int = 60) -> str:
        """The end of the server's log."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    # --- the end ----------------------------------------------------------

    def abort(self) -> None:
        """End the mount from outside: every process stuck in it gets an error."""
        for entry in plumbing.fuse_mounts_under(self.base):
            if not plumbing.abort_connection(entry.connection):
                for pid in self.server_pids():
                    plumbing.kill_and_wait(pid)

    def _detach(self) -> None:
        for entry in reversed(plumbing.fuse_mounts_under(self.base)):
            plumbing.detach_mount(entry.target)

    def close(self) -> list[str]:
        """Take everything away, whatever state it is in.

        Returns:
            What was wrong on the way; empty for a volume that ended in order.
        """
        troubles = []
        if self.is_mounted():
            done = self.umount(check=False)
            if done.returncode != 0:
                troubles.append(f"umount exited with {done.returncode}: {done.stderr.strip()}")
            elif self.is_whole:
                troubles += self.fsck()
        if self.is_mounted():
            self.abort()
            self._detach()
        for pid in self.server_pids():
            if not plumbing.wait_for_exit(pid, 5):
                troubles.append(f"process {pid} stayed: {plumbing.command_line(pid)}")
                plumbing.kill_and_wait(pid)
        plumbing.detach_loops(self._memory or self.base)
        if self._memory:
            shutil.rmtree(self._memory, ignore_errors=True)
        # Members are the bulk of a test's files; the log and the store stay for the autopsy.
        for path in self.backing:
            path.unlink(missing_ok=True)
        return troubles


class HostVolume(Volume):
    """The same methods over a directory of the host's file system: tests the tests."""

    def create(self, *_options: str) -> Volume:
        """Nothing to make: the directory is there."""
        return self

    def mount(self, *options: str) -> Volume:
        """Nothing to mount; a read-only or otherwise special mount cannot be imitated."""
        if {o for o in options if not o.startswith("allow_other")}:
            pytest.skip(f"the host's file system has no mount option {options}")
        return self

    def umount(self, *, check: bool = True) -> Done[str]:
        """Nothing to unmount."""
        return Done(["umount", str(check)], 0, "", "")

    def kill9(self) -> None:
        """A file system without a server survives its death."""

    def terminate(self) -> None:
        """As `kill9`."""

    def is_mounted(self) -> bool:
        """Never: the parent's `close` has nothing to unmount then."""
        return False

    def cli(self, *arguments: object, check: bool = True) -> Done[str]:
        """No command can be asked about a plain directory."""
        pytest.skip(f"no iomapd {arguments[0]} on the host (check={check})")


def make_volume(base: Path, **plan: Any) -> Volume:
    """A Volume, or its host twin when the tests themselves are under test."""
    return (HostVolume if ON_HOST else Volume)(base, **plan)


def bytes_of(size: str) -> int:
    """Bytes of a size as layout files spell it."""
    number, suffix = re.fullmatch(r"(\d+)([KMGT]iB|B)", size).groups()
    return int(number) << {"B": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}[suffix]
