# SPDX-License-Identifier: MIT
"""fio, driven: one process per measurement point, JSON in, numbers out.

A point is one access pattern (what, how large, cached or not, how many at
once).  Several targets are measured in one fio process one after the other
(``stonewall``), so that they share the machine's mood.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from iomapd.errors import IomapdError

_LAUNCH_SECONDS: Final = 60  # what fio may take beyond the time of its jobs

Pattern = Literal["read", "randread", "write", "randwrite"]


class FioError(IomapdError):
    """fio is missing, or it failed; the message carries its own words."""


@dataclass(frozen=True, slots=True)
class Point:
    """An access pattern; *block_size* is bytes, *depth* requests in flight per job and file.

    *jobs* is how many threads do it side by side in the same file.  *fresh*: each target is
    made anew and written once through, instead of what is there being written over.
    *requests*: each job ends after that many, and no block is asked for twice; 0: no such end.
    """

    pattern: Pattern
    direct: bool
    depth: int
    block_size: int = 1 << 20
    jobs: int = 1
    fresh: bool = False
    requests: int = 0

    @property
    def is_write(self) -> bool:
        """Whether bytes go to the target."""
        return self.pattern.endswith("write")


@dataclass(frozen=True, slots=True)
class Target:
    """Files or devices measured together under one name; their rates add up.

    *size* is how much of each file is used, bytes.
    """

    name: str
    paths: tuple[Path, ...]
    size: int
    writable: bool = True


@dataclass(frozen=True, slots=True)
class Rate:
    """What a target did: bytes per second, operations per second, mean latency in ns.

    *p50_ns* and *p99_ns* are bounds that so many percent of the requests stayed below.
    """

    bandwidth: float
    iops: float
    latency_ns: float
    p50_ns: float = 0
    p99_ns: float = 0


def measure(point: Point, targets: Sequence[Target], seconds: float) -> dict[str, Rate]:
    """Measure *targets* at *point*, one after the other, in one fio process.

    O_DIRECT runs repeat for *seconds*.  New files are written once, for
    *seconds* at most.  Buffered reads start cold (fio drops the cache of the
    file first) and go through the file once, for *seconds* at most: a second
    pass would measure the page cache alone.

    Returns:
        The rate of each target by name, without those that fio could not
        serve (a read-only target for a write, no O_DIRECT on its file system).

    Raises:
        FioError: fio is missing or failed altogether.
    """
    able = [target for target in targets if target.writable or not point.is_write]
    if not able:
        return {}
    if point.fresh:
        for path in (path for target in able for path in target.paths):
            path.unlink(missing_ok=True)
    jobs = _run(_job_file(point, able, seconds), _LAUNCH_SECONDS + len(able) * seconds * 2)
    return {target.name: rate for target in able if (rate := _rate(jobs, target, point))}


def fill(paths: Sequence[Path], size: int) -> None:
    """Write each file once from start to end, *size* bytes, so that nothing is read first-hand.

    Raises:
        FioError: fio failed, with its reason.
    """
    lines = ["[global]", "rw=write", "bs=1M", f"size={size}", "ioengine=psync", "end_fsync=1"]
    for path in paths:
        lines += [f"[fill {path.name}]", f"filename={_escape(path)}"]
    _check(_run("\n".join(lines), _LAUNCH_SECONDS + 600))


def verify(path: Path, size: int, block_size: int, pattern: Pattern, jobs: int = 1) -> int:
    """Write checksummed blocks (crc32c), read them back and compare.

    Args:
        path: a file; each job has a part of its own.
        size: bytes in all.
        block_size: bytes of a block.
        pattern: "write" or "randwrite".
        jobs: how many write side by side.

    Returns:
        Bytes verified.

    Raises:
        FioError: a block is not what was written, or fio failed.
    """
    part = size // jobs // block_size * block_size
    # Made at its full size first: fio's jobs would each do it, over what others have written.
    with path.open("wb") as file:
        file.truncate(part * jobs)
    lines = [
        "[global]",
        *(f"rw={pattern}", f"bs={block_size}", f"size={part}", f"offset_increment={part}"),
        *("verify=crc32c", "verify_fatal=1", "do_verify=1", "ioengine=psync", "end_fsync=1"),
        *("[verify]", f"filename={_escape(path)}", f"numjobs={jobs}"),
    ]
    done = _run("\n".join(lines), _LAUNCH_SECONDS + 600)
    _check(done)
    return sum(int(job["read"]["io_bytes"]) for job in done)


@cache
def queue_engine() -> str:
    """Return the fio engine that keeps several requests in flight here: io_uring or libaio."""
    lines = ["[probe]", "ioengine=io_uring", "rw=read", "size=4k", "filename=/dev/zero"]
    with_uring = _run("\n".join(lines), _LAUNCH_SECONDS, tolerant=True)
    return "io_uring" if with_uring and not with_uring[0].get("error") else "libaio"


def _job_file(point: Point, targets: Sequence[Target], seconds: float) -> str:
    lines = [
        "[global]",
        *(f"rw={point.pattern}", f"bs={point.block_size}", f"iodepth={point.depth}"),
        f"numjobs={point.jobs}",
        f"ioengine={'psync' if point.depth == 1 else queue_engine()}",
        *(f"direct={point.direct:d}", f"runtime={max(int(seconds * 1000), 1)}ms"),
        # Buffers are allocated once and their contents do not matter: no time goes there.
        *("refill_buffers=0", "scramble_buffers=0", "continue_on_error=none", "exitall_on_error=0"),
    ]
    if point.fresh:
        # fio would preallocate; what is asked is what a plain program's writes cost.
        lines.append("fallocate=none")
    elif point.requests:
        lines.append(f"number_ios={point.requests}")
    elif point.direct or point.is_write:
        lines.append("time_based=1")
    for target in targets:
        for number, path in enumerate(target.paths):
            lines += [
                f"[{target.name}]",
                # The first file of a target waits for the target before it.
                *(["stonewall"] if number == 0 else []),
                *(f"filename={_escape(path)}", f"size={target.size}"),
            ]
    return "\n".join(lines)


def _run(job_file: str, timeout: float, *, tolerant: bool = False) -> list[dict[str, Any]]:
    """Run fio on a job file given on stdin and return its jobs."""
    if shutil.which("fio") is None:
        raise FioError("fio is not installed: apt-get install fio")
    # Threads, not processes: when we are interrupted, one kill ends all of fio's jobs, and no
    # child of its is left to keep a mount busy.
    command = ["fio", "--output-format=json", "--thread"]
    # An interrupted fio writes down how far it got; nobody will come back for it.
    with tempfile.TemporaryDirectory(prefix="iomapd-fio-") as aside:
        try:
            done = subprocess.run(
                [*command, f"--aux-path={aside}", "-"],
                input=job_file,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise FioError(f"fio did not end within {timeout:.0f} s") from error
    # fio may write warnings in front of the JSON even to stdout.
    try:
        jobs: list[dict[str, Any]] = json.loads(done.stdout[done.stdout.index("{") :])["jobs"]
    except (ValueError, KeyError) as error:
        if tolerant:
            return []
        words = (done.stderr or done.stdout).strip().splitlines() or [f"exit {done.returncode}"]
        raise FioError(f"fio failed: {words[-1]}") from error
    return jobs


def _check(jobs: list[dict[str, Any]]) -> None:

    for job in jobs:
        if job.get("error"):
            raise FioError(f"fio: {job['jobname']}: {os.strerror(int(job['error']))}")


def _rate(jobs: list[dict[str, Any]], target: Target, point: Point) -> Rate | None:
    """Add up the jobs of *target*; None when one of them failed or did nothing."""
    side = "write" if point.is_write else "read"
    mine = [job for job in jobs if job["jobname"] == target.name]
    sides = [job[side] for job in mine]
    if any(job.get("error") for job in mine) or not all(s["io_bytes"] for s in sides):
        return None
    return Rate(
        bandwidth=sum(float(s["bw_bytes"]) for s in sides),
        iops=sum(float(s["iops"]) for s in sides),
        latency_ns=max(float(s["clat_ns"]["mean"]) for s in sides),
        p50_ns=max(_percentile(s, 50) for s in sides),
        p99_ns=max(_percentile(s, 99) for s in sides),
    )


def _percentile(side: dict[str, Any], percent: int) -> float:
    return float(side["clat_ns"].get("percentile", {}).get(f"{percent:.6f}", 0))


def _escape(path: Path) -> str:
    # fio separates several file names with colons.
    return str(path).replace(":", "\\:")
