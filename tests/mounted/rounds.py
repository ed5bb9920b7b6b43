# SPDX-License-Identifier: MIT
"""Rounds: a mixed load, a server that dies at a random instant, a mount, a check.

    kill        SIGKILL under load; the mountpoint stays stale and the process may still be
                dying when the next mount starts
    finishing   the load stops, the mount is detached, and the server that is making its
                last durability point is killed there
    wait        the same without the kill: the next mount waits, and nothing may be missing

After each mount every load checks its promises, fsck has nothing to say, and the space in
use is what the files own: nothing of unlinked files, nothing made ahead of need.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import traceback
from typing import TYPE_CHECKING

from tests.mounted import plumbing
from tests.mounted.harness import bytes_of
from tests.mounted.loads import GONE, Load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.mounted.harness import Volume

LONGEST_S = 0.5
WAYS = ("kill",) * 6 + ("finishing", "wait")


class Rounds:
    """Crash after crash on one volume.

    Args:
        volume: mounted, of its own.
        seed: of every choice, and of the loads.
        kinds: the loads.
    """

    def __init__(
        self, volume: Volume, seed: int, kinds: Sequence[Callable[[Path, int], Load]]
    ) -> None:
        self.volume, self.seed = volume, seed
        self.random = random.Random(seed)
        self.loads = [
            kind(volume.mnt / f"{at}-{kind.__name__}", seed * 100 + at)
            for at, kind in enumerate(kinds)
        ]
        self.rounds = 0
        self._failures: list[str] = []
        self._stop = threading.Event()
        self._killed = threading.Event()

    @property
    def steps(self) -> int:
        """Steps of all loads that were answered."""
        return sum(load.done for load in self.loads)

    def run(self) -> None:
        """One round.

        Raises:
            AssertionError: a promise was broken; says which round, and how it went.
        """
        way, seconds = self.random.choice(WAYS), self.random.random() ** 2 * LONGEST_S
        self.rounds += 1
        try:
            self._work(way, seconds)
            {"kill": self._kill, "finishing": self._finish, "wait": self._detach}[way]()
            self.volume.mount(*self.volume.mount_options)
            self._check(settled=way == "wait")
        except AssertionError as error:
            story = f"seed {self.seed}, round {self.rounds}, {way} after {seconds:.3f} s"
            raise AssertionError(f"{story}: {error}") from error

    # --- the load ---------------------------------------------------------------------

    def _work(self, way: str, seconds: float) -> None:
        """Let loads work for *seconds*; they are still at it afterwards if *way* is kill."""
        self._stop.clear()
        self._killed.clear()
        loads = self._working()
        before = [load.done for load in loads]
        self._threads = [threading.Thread(target=self._steps, args=(load,)) for load in loads]
        for thread in self._threads:
            thread.start()
        if self.rounds == 1 or self.random.random() < 0.5:  # else it dies as early as may be
            while any(load.done == done for load, done in zip(loads, before, strict=True)):
                if self._stop.wait(0.01):  # a load has failed
                    break
        self._stop.wait(seconds)
        if way != "kill":
            self._join()

    def _working(self) -> list[Load]:
        """All loads at first and often; else a few, whose promises no other's points keep."""
        if self.rounds == 1 or self.random.random() < 0.3:
            return self.loads
        return self.random.sample(self.loads, min(self.random.randint(1, 3), len(self.loads)))

    def _steps(self, load: Load) -> None:
        try:
            while not self._stop.is_set():
                load.step()
                load.done += 1
        except OSError as error:
            if error.errno not in GONE or not self._killed.is_set():
                self._fail(load)
        except Exception:
            self._fail(load)

    def _fail(self, load: Load) -> None:
        self._failures.append(f"{type(load).__name__}: {traceback.format_exc()}")
        self._stop.set()

    def _join(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        assert not self._failures, "\n".join(self._failures)

    # --- the end of the server ----------------------------------------------------------

    def _kill(self) -> None:
        pids = self.volume.server_pids()
        self._killed.set()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        if self.random.random() < 0.5:
            assert all(plumbing.wait_for_exit(pid, 30) for pid in pids)
        for thread in self._threads:
            thread.join()
        self._join()
        if self.random.random() < 0.5:
            self._release()

    def _finish(self) -> None:
        pids = self.volume.server_pids()
        self._detach()
        threading.Event().wait(self.random.random() * 0.03)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):  # it was quicker
                os.kill(pid, signal.SIGKILL)

    def _detach(self) -> None:
        self._release()
        plumbing.detach_mount(str(self.volume.mnt))

    def _release(self) -> None:
        for load in self.loads:
            load.release()

    # --- the check ------------------------------------------------------------------------

    def _check(self, *, settled: bool) -> None:
        self._release()
        self._check_space()
        for load in self.loads:
            if settled:
                load.settle()
            load.check()
        findings = self.volume.fsck()
        assert not findings, findings

    def _check_space(self) -> None:
        """Only files own space, and no more of it than they were written for."""
        make_point(self.volume.mnt)
        row = bytes_of(self.volume.unit) * len(self.volume.members)
        owned = {}
        for load in self.loads:
            reach = load.reach()
            for name, status in everything(load.directory):
                owned[status.st_ino] = status.st_blocks * 512
                if name in reach:
                    most = -(-reach[name] // row) * row
                    found = owned[status.st_ino]
                    assert found <= most, f"{load.directory}/{name} owns {found} bytes, not {most}"
        space = os.statvfs(self.volume.mnt)
        used = (space.f_blocks - space.f_bfree) * space.f_frsize
        files = sum(owned.values())
        assert used == files, f"{used} bytes are in use, files own {files}"


def everything(directory: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Name and attributes of whatever lies below *directory*."""
    for parent, directories, files in os.walk(directory):
        for name in directories + files:
            yield name, os.lstat(os.path.join(parent, name))


def make_point(directory: Path) -> None:
    """A durability point: what was freed is free afterwards."""
    fd = os.open(directory, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
