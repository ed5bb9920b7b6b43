# SPDX-License-Identifier: MIT
"""fio's own verification: every block read back carries the checksum it was written with."""

import json
import shutil
import subprocess

import pytest

from tests.mounted.harness import SOAK, is_root, soak

MIB = 1 << 20
VOLUME = {"members": 4, "sizes": ("2GiB" if SOAK else "96MiB",), "loop": is_root()}
# MiB per job: a 4 KiB block costs as much time as a large one.
TOTALS = {"1m": soak(16, 4), "4k": soak(2, 8)}
PATTERNS = ("write", "randwrite")


def fio(directory, *options):
    """Run one group of fio jobs in *directory*; what it says of them."""
    if shutil.which("fio") is None:
        pytest.skip("fio is not installed: apt install fio")
    command = ["fio", "--name=verify", f"--directory={directory}", "--fallocate=none",
               "--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0", "--randseed=7",
               "--group_reporting", "--output-format=json", *options]  # fmt: skip
    done = subprocess.run(
        command, cwd="/tmp", capture_output=True, text=True, timeout=240,
        check=False,
    )  # fmt: skip
    if "not loadable" in done.stderr or "Function not implemented" in done.stderr:
        pytest.skip(f"fio cannot do {options} here")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (job,) = json.loads(done.stdout[done.stdout.index("{") :])["jobs"]
    assert job["error"] == 0
    return job


@pytest.mark.parametrize("size", TOTALS)
@pytest.mark.parametrize("direct", [0, 1], ids=["buffered", "direct"])
def test_four_jobs_verify_what_they_wrote_and_again_after_a_remount(
    size, direct, workdir, shared_volume
):
    total = 4 * TOTALS[size] * MIB

    def jobs(pattern, *more):
        return fio(
            workdir / pattern, f"--rw={pattern}", f"--bs={size}", f"--size={TOTALS[size]}m",
            f"--direct={direct}", "--numjobs=4", "--ioengine=psync", *more,
        )  # fmt: skip

    for pattern in PATTERNS:
        (workdir / pattern).mkdir()
        job = jobs(pattern, "--do_verify=1", "--end_fsync=1")
        assert job["write"]["io_bytes"] == total
        assert job["read"]["io_bytes"] == total, "fio verified less than it wrote"
    shared_volume.remount()
    for pattern in PATTERNS:
        job = jobs(pattern, "--verify_only")
        assert job["read"]["io_bytes"] == total, "fio verified less than it wrote"
    shutil.rmtree(workdir)


@pytest.mark.parametrize("engine", ["libaio", "io_uring"])
def test_direct_writes_in_flight_at_once_verify(engine, workdir):
    """Queue depth 16 in one file: the server has reads and writes of one inode side by side."""
    job = fio(workdir, "--rw=randwrite", "--bsrange=4k-256k", f"--size={soak(24, 4)}m",
              "--direct=1", f"--ioengine={engine}", "--iodepth=16", "--do_verify=1",
              "--verify_backlog=64")  # fmt: skip
    assert job["read"]["io_bytes"] > 0
