# SPDX-License-Identifier: MIT
"""Starting a server: a fresh process, and a pipe for "ready" or the one error line.

The process is started before anything else: it imports its modules, which is most of the time
that a mount takes, while the request is read here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import iomapd
from iomapd import errors
from iomapd.errors import IomapdError, MountError

if TYPE_CHECKING:
    from collections.abc import Callable

    from iomapd.server.config import MountRequest


@dataclass(frozen=True, slots=True)
class MountReport:
    """A mount that answers: the server's *pid* and its FUSE *connection* number."""

    pid: int
    connection: int
    mountpoint: Path


def launch(
    source: Path,
    mountpoint: Path,
    options: dict[str, str | None],
    *,
    foreground: bool = False,
    lanes: int | None = None,
    log: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> MountReport:
    """Mount the volume that *source* names; returns when the mount answers.

    Args:
        source: layout file or member.
        mountpoint: an empty directory.
        options: as ``-o`` gives them; flags have the value None.
        foreground: return only after the unmount; log to stderr.
        lanes: compiled lanes that serve; 0: none, Python serves; None: what pays here.
        log: file for the server's log.
        progress: told what is going on, in words.

    Raises:
        IomapdError: the server's one line.
    """
    read_fd, write_fd = os.pipe()
    try:
        process = _start(write_fd, foreground=foreground)
    finally:
        os.close(write_fd)
    try:
        with os.fdopen(read_fd) as answers:
            request = _request(source, mountpoint, options, lanes, log, foreground)
            if progress is not None:
                progress(f"mounting {mountpoint}")
            _ask(process, request)
            line = _last_word(answers, progress)
    except IomapdError:
        # Refused here: the server has heard of nothing yet.
        process.kill()
        process.communicate()
        raise
    except BaseException:
        # Interrupted while the mount was starting: it must not appear later.
        process.terminate()
        raise
    report = _understand(line, process, request)
    if foreground and process.wait():
        raise MountError(f"{mountpoint}: the server ended with status {process.returncode}")
    # The server outlives us on purpose; Popen must not warn about it.
    process.returncode = 0
    return report


def _request(
    source: Path, mountpoint: Path, options: dict[str, str | None],
    lanes: int | None, log: Path | None, foreground: bool,
) -> MountRequest:  # fmt: skip
    # Takes a while to import, and the server is importing meanwhile.
    from iomapd.server.config import MountRequest

    given = log.absolute() if log else _log_beside(mountpoint, foreground=foreground)
    request = MountRequest(
        source.absolute(), mountpoint.absolute(), options, lanes, given, foreground
    )
    request.check()
    return request


def _start(report_fd: int, *, foreground: bool) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        # One OpenBLAS thread is one too many for a process that computes no matrix.
        "OPENBLAS_NUM_THREADS": "1",
        # It looks through the metadata of every installed package for plugins that none needs.
        "PYDANTIC_DISABLE_PLUGINS": "1",
        # An installed package, or the checkout this launcher runs from.
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(Path(iomapd.__file__).parent.parent), os.environ.get("PYTHONPATH")])
        ),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "iomapd.server", str(report_fd)],
        stdin=subprocess.PIPE,
        pass_fds=(report_fd,),
        start_new_session=not foreground,
        env=environment,
        text=True,
    )


def _ask(process: subprocess.Popen[str], request: MountRequest) -> None:
    assert process.stdin is not None
    # A server that is gone already has nothing to say, and that is said later.
    with suppress(BrokenPipeError), process.stdin as pipe:
        pipe.write(request.to_json())


def _last_word(answers: TextIO, progress: Callable[[str], None] | None) -> str:
    """Read lines until one says how it ended; the others say what is going on."""
    for line in answers:
        told: dict[str, Any] = json.loads(line)
        if "progress" not in told:
            return line
        if progress is not None:
            progress(told["progress"])
    return ""


def _understand(line: str, process: subprocess.Popen[str], request: MountRequest) -> MountReport:
    if not line:
        status = process.wait()
        where = f"; see {request.log}" if request.log else ""
        ended = f"the server ended with status {status} before it answered"
        raise MountError(f"{request.mountpoint}: {ended}{where}")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        process.wait()
        kind = getattr(errors, answer["kind"], MountError)
        assert issubclass(kind, IomapdError)
        raise kind(answer["error"])
    return MountReport(answer["pid"], answer["connection"], request.mountpoint)


def _log_beside(mountpoint: Path, *, foreground: bool) -> Path | None:
    from iomapd.server.runtime import runtime_dir

    if foreground:
        return None
    name = os.fspath(mountpoint.absolute()).strip("/").replace("/", "-") or "root"
    # A component is at most 255 bytes; the end of a path tells more than its start.
    return runtime_dir() / f"{name[-200:]}.log"
