# SPDX-License-Identifier: MIT
"""More loads for a server that will be killed: space going round, names, fio."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import subprocess
from typing import TYPE_CHECKING

from tests.model.content import BLOCK, Bytes
from tests.mounted import tagged
from tests.mounted.loads import GONE, Load, opened, tagged_only
from tests.mounted.tree import TreeMachine
from tests.mounted.tree_model import Refused
from tests.mounted.tree_steps import shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Recycler(Load):
    """Unlink, make again, write, truncate, append, rarely sync: space goes round quickly.

    Every block carries the number of its file, which no other file ever has: what was
    left in space that somebody had before is seen.
    """

    SLOTS = 7
    LONGEST = 2 << 20

    def __init__(self, directory: Path, seed: int) -> None:
        super().__init__(directory, seed)
        self.files: dict[str, tuple[int, Bytes]] = {}
        self.making: tuple[str, int] | None = None
        self.removing: str | None = None

    def step(self) -> None:
        name = f"slot{self.random.randrange(self.SLOTS)}"
        if name not in self.files:
            self._make(name)
        action = self.random.choice(
            (self._write, self._write, self._write, self._truncate, self._remove, self._sync)
        )
        try:
            action(name)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            self.files[name][1].answered()

    def _make(self, name: str) -> None:
        number = self.next_number()
        self.making = (name, number)
        with opened(self.directory / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY):
            self.files[name] = (number, Bytes())
        self.making = None

    def _write(self, name: str) -> None:
        number, content = self.files[name]
        end = -(-content.now.size // BLOCK) * BLOCK
        start = self.random.choice((0, end, end, self.random.randrange(0, end + 1, BLOCK)))
        total = self.random.randint(1, 24) * BLOCK
        with opened(self.directory / name, os.O_WRONLY) as fd:
            # One message each: a longer write could be answered in part.
            for pos in range(start, min(start + total, self.LONGEST), 8 * BLOCK):
                length = min(8 * BLOCK, start + total - pos)
                data = tagged.content(self.tag(number), length, pos, self.done)
                content.try_write(pos, data)
                done = os.pwrite(fd, data, pos)
                content.answered()
                content.write(pos, data[:done])

    def _truncate(self, name: str) -> None:
        content = self.files[name][1]
        size = self.random.choice((0, content.now.size // 2, content.now.size + 5 * BLOCK))
        size = min(size, self.LONGEST)
        content.try_resize(size)
        os.truncate(self.directory / name, size)
        content.answered()
        content.resize(size)

    def _remove(self, name: str) -> None:
        self.removing = name
        os.unlink(self.directory / name)
        self.removing = None
        del self.files[name]

    def _sync(self, name: str) -> None:
        if self.random.random() < 0.7:
            return
        with opened(self.directory / name, os.O_WRONLY) as fd:
            os.fsync(fd)
        self.settle()

    def settle(self) -> None:
        for _, content in self.files.values():
            content.settle()

    def check(self) -> None:
        found = set(os.listdir(self.directory))
        if self.making and self.making[0] in found:
            name, number = self.making
            self.files[name] = (number, Bytes())
        if self.removing and self.removing not in found:
            del self.files[self.removing]
        self.making = self.removing = None
        assert found == set(self.files), f"{found ^ set(self.files)} should not be, or is missing"
        for name, (number, content) in self.files.items():
            data = (self.directory / name).read_bytes()
            tagged_only(data, self.tag(number), self.directory / name)
            content.adopt(len(data), lambda pos, count, d=data: d[pos : pos + count], name)

    def reach(self) -> dict[str, int]:
        return {name: self.LONGEST for name in self.files}


class Orphans(Load):
    """Files that are unlinked while they are open, and stay open until the server dies."""

    KEPT = 5

    def __init__(self, directory: Path, seed: int) -> None:
        super().__init__(directory, seed)
        self.fds: list[int] = []
        self.trying = ""

    def step(self) -> None:
        number = self.next_number()
        self.trying = f"orphan{number}"
        fd = os.open(self.directory / self.trying, os.O_CREAT | os.O_RDWR, 0o600)
        self.fds.append(fd)
        os.pwrite(fd, tagged.content(self.tag(number), 16 * BLOCK), 0)
        os.unlink(self.directory / self.trying)
        self.trying = ""
        os.pwrite(fd, tagged.content(self.tag(number), 8 * BLOCK, 16 * BLOCK), 16 * BLOCK)
        if self.random.random() < 0.3:
            os.fsync(fd)
        tagged.check(os.pread(fd, 24 * BLOCK, 0), self.tag(number))
        if len(self.fds) > self.KEPT:
            os.close(self.fds.pop(self.random.randrange(len(self.fds))))

    def release(self) -> None:
        for fd in self.fds:
            with contextlib.suppress(OSError):  # its server is dead
                os.close(fd)
        self.fds.clear()

    def check(self) -> None:
        left = set(os.listdir(self.directory))
        assert left <= {self.trying}, f"unlinked files are back: {left}"
        for name in left:
            os.unlink(self.directory / name)


class Fio(Load):
    """Jobs of fio, synced at their end; each that ended is verified by fio after the crash."""

    KEPT = 2

    def __init__(self, directory, seed):
        super().__init__(directory, seed)
        self.written = []
        self.verified = 0

    def fio(self, name, *options):
        command = ["fio", f"--name={name}", f"--filename={self.directory / name}", "--bs=16k",
                   "--size=1m", "--rw=randwrite", "--verify=crc32c", "--ioengine=psync",
                   "--thread", "--fallocate=none", "--verify_state_save=0", *options]  # fmt: skip
        return subprocess.run(command, cwd="/tmp", capture_output=True, text=True, check=False)

    def step(self):
        if len(self.written) > self.KEPT:
            (self.directory / self.written.pop(0)).unlink()
        name = f"fio{self.next_number()}"
        direct = self.random.choice((0, 1))
        done = self.fio(name, "--do_verify=0", "--end_fsync=1", f"--direct={direct}")
        if done.returncode == 0:
            self.written.append(name)
        elif not (self.directory / name).exists():  # a dead server says so here
            raise AssertionError(done.stdout + done.stderr)

    def check(self):
        for path in set(self.directory.iterdir()) - {self.directory / n for n in self.written}:
            path.unlink()
        for name in self.written:
            done = self.fio(name, "--verify_only", "--verify_fatal=1")
            assert done.returncode == 0, f"{name}: {done.stdout[-1500:]}{done.stderr[-1500:]}"
            self.verified += 1


class Names(Load):
    """A storm of names and attributes beside its model; not one answered operation is lost."""

    def __init__(self, directory: Path, seed: int) -> None:
        super().__init__(directory, seed)
        self.machine = _Storm(directory, seed)
        self.pending: Callable[[], object] | None = None

    def step(self) -> None:
        machine = self.machine
        name = machine.random.choice(machine.OPERATIONS)
        real, self.pending, text = getattr(machine, name)()
        found = answer(real)
        wanted, self.pending = answer(self.pending), None
        machine.history.append(f"{name} {text} -> {wanted}")
        story = "\n".join(machine.history)
        assert found == wanted, f"{name} answered {found}, not {wanted}:\n{story}"

    def check(self) -> None:
        try:
            self.machine.compare()
        except (AssertionError, OSError):
            if self.pending is None:
                raise
            # It was not answered, but done.
            answer(self.pending)
            self.machine.compare()
        self.pending = None


class _Storm(TreeMachine):
    """A small tree, so that it can be compared often, of empty files: data has other loads."""

    OPERATIONS = tuple(name for name in TreeMachine.OPERATIONS if name != "write")

    def place(self) -> tuple[bytes, ...]:
        directories = [n for n, node in self.walk() if node.is_dir and len(n) < 3]
        return (*self.random.choice(directories), self.random.choice((b"a", b"b", b"\xff raw")))

    def create(self) -> tuple[Callable[[], object], Callable[[], object], str]:
        names = self.place()

        def real() -> None:
            os.close(os.open(self.real(names), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640))

        def model() -> None:
            self._free(names).entries[names[-1]] = self._node(stat.S_IFREG, 0o640)

        return real, model, shown(names)


def answer(action: Callable[[], object]) -> str:
    """ "ok" or an errno's name; an error that says the server is gone is raised."""
    try:
        action()
    except OSError as error:
        if error.errno in GONE:
            raise
        return errno.errorcode[error.errno]
    except Refused as error:
        return errno.errorcode[error.errno]
    return "ok"
