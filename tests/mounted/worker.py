# SPDX-License-Identifier: MIT
"""Processes that work in a mount beside the test: ``python -m tests.mounted.worker JOB ...``.

A job ends by itself, or on the first error that the mount gives it (a killed server
is the point of some tests), and says on stdout what it was promised.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.mounted import syscalls, tagged

ROOT = Path(__file__).parent.parent.parent


def start(job: str, *arguments: object, **more: object) -> subprocess.Popen[str]:
    """Start a job; its stdout is a pipe of lines."""
    return run_module("tests.mounted.worker", job, *arguments, **more)


def run_module(module: str, *arguments: object, **more: object) -> subprocess.Popen[str]:
    """Start ``python -m module``; its stdout is a pipe of lines."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    # Not in the mount: a busy working directory would keep it from being unmounted.
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, **more)


def append(path: str, name: str, count: str) -> None:
    """Append *count* lines that carry *name* and their number."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for number in range(int(count)):
        os.write(fd, f"{name} {number} {'x' * (number % 90)}\n".encode())
    os.close(fd)


def stripe(path: str, file: str, start: str, step: str, count: str) -> None:
    """Write tagged blocks start, start + step, ... with O_DIRECT."""
    fd = os.open(path, os.O_WRONLY | os.O_DIRECT)
    for index in range(int(count)):
        pos = (int(start) + index * int(step)) * tagged.BLOCK
        syscalls.direct_write(fd, tagged.block(int(file), pos), pos)
    os.close(fd)


def promise(directory: str, first: str, blocks: str) -> None:
    """Write tagged files one after the other, fsync each, and say so; until an error."""
    number = int(first)
    # Held open: a path would lead to the directory below once the mount is detached.
    mount = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    while True:
        try:
            fd = os.open(str(number), os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=mount)
            length = (1 + number % int(blocks)) * tagged.BLOCK
            os.write(fd, tagged.content(number, length))
            os.fsync(fd)
        except OSError:
            return
        # Only now: what was said must be there, whatever happens next.
        sys.stdout.write(f"{number} {length}\n")
        sys.stdout.flush()
        number += 1


def scribble(path: str, file: str, blocks: str) -> None:
    """Overwrite one file's blocks round after round, never syncing, until an error."""
    try:
        fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o644)
        for round_ in range(10**9):
            for index in range(int(blocks)):
                pos = index * tagged.BLOCK
                os.pwrite(fd, tagged.block(int(file), pos, round_), pos)
            sys.stdout.write(f"{round_}\n")
            sys.stdout.flush()
    except OSError:
        return


def fill(path: str, file: str) -> None:
    """Append tagged MiBs until ENOSPC, then single blocks; say how many bytes there are."""
    fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o644)
    pos = 0
    for size in (1 << 20, tagged.BLOCK):
        while True:
            try:
                done = os.pwrite(fd, tagged.content(int(file), size, pos), pos)
            except OSError as error:
                if error.errno != 28:
                    raise
                break
            pos += done
            # A short write ends inside a block: the next attempt starts at its border.
            pos -= pos % tagged.BLOCK
    os.close(fd)
    sys.stdout.write(f"{pos}\n")


JOBS = {job.__name__: job for job in (append, stripe, promise, scribble, fill)}

if __name__ == "__main__":
    JOBS[sys.argv[1]](*sys.argv[2:])
