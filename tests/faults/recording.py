# SPDX-License-Identifier: MIT
"""A directory whose files are recorded, for the length of a ``with``.

with Recording(tmp_path) as recording:
    ...  # members and the store below recording.directory
    recording.mark("acknowledged 17")
logs = recording.logs()
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.faults.log import Entry, read_log
from tests.mounted import plumbing
from tests.mounted.harness import ROOT

if TYPE_CHECKING:
    from pathlib import Path

END_SECONDS = 30
DIRECTORY = "."  # the log of names, in what `logs` returns


class Recording:
    """Runs the recorder (`tests.faults.recorder`) in a process of its own.

    Attributes:
        directory: the mount; what is in there is recorded.  It is flat.
        backing: the same files, not recorded; only to look at.
        process: the recorder.
    """

    def __init__(self, base: Path, *, flush_seconds: float = 0.0) -> None:
        """Plan a recording below *base*, an empty or absent directory.

        Args:
            base: gets ``recorded``, ``backing`` and ``logs``.
            flush_seconds: how long a flush takes; writes made meanwhile are not covered by it.
        """
        self._base = base
        self.directory = base / "recorded"
        self.backing = base / "backing"
        self._logs = base / "logs"
        self._flush_seconds = flush_seconds
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Recording:
        for directory in (self.directory, self.backing, self._logs):
            directory.mkdir(parents=True, exist_ok=True)
        paths = map(str, (self.backing, self.directory, self._logs))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.recorder", *paths, str(self._flush_seconds)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        if self.process.stdout.readline() != "ready\n":
            self.process.wait(END_SECONDS)
            raise AssertionError(f"the recorder ended with {self.process.returncode}")
        return self

    def __exit__(self, *_exc: object) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        plumbing.detach_loops(self.directory)
        # Lazily: a descriptor that a failed test left open must not keep the mount.
        for entry in plumbing.fuse_mounts_under(self.directory):
            plumbing.detach_mount(entry.target)
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(
                "recorded files were still open; the recorder was killed"
            ) from None
        finally:
            self.process.stdout.close()
        assert self.process.returncode == 0, "the recorder failed; its error is on stderr"

    def mark(self, text: str) -> None:
        """Put *text* (at most `log.MARK_MAX` bytes) into every log, at one instant."""
        os.setxattr(self.directory, "user.mark", text.encode())

    def logs(self) -> dict[str, list[Entry]]:
        """What was recorded so far: the entries of each file, by the file's name.

        A removed file is ``NAME~NUMBER``; ``"."`` is the directory.
        """
        return {
            path.name.removesuffix(".log") or DIRECTORY: read_log(path)
            for path in sorted(self._logs.glob("*.log"))
        }
