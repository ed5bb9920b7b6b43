# SPDX-License-Identifier: MIT
"""fio's own verification: every block read back carries the checksum it was written with."""

import json
import shutil
import subprocess

import pytest

from tests.mounted.harness import is_root, soak

VOLUME = {"members": 4, "sizes": ("96MiB",), "loop": is_root()}
CASES = [
    (pattern, size, direct)
    for pattern in ("write", "randwrite")
    for size in ("1m", "4k")
    for direct in (0, 1)
]


@pytest.mark.parametrize(("pattern", "size", "direct"), CASES)
def test_four_jobs_verify_what_they_wrote_and_again_after_a_remount(
    pattern, size, direct, workdir, shared_volume
):
    if shutil.which("fio") is None:
        pytest.skip("fio is not installed: apt install fio")
    total = f"{soak(16 if size == '1m' else 4, 4)}m"

    def fio(*more):
        done = subprocess.run(
            [
                "fio",
                "--name=verify",
                f"--directory={workdir}",
                f"--rw={pattern}",
                f"--bs={size}",
                f"--size={total}",
                f"--direct={direct}",
                "--numjobs=4",
                "--ioengine=psync",
                "--fallocate=none",
                "--verify=crc32c",
                "--verify_fatal=1",
                "--randseed=7",
                "--group_reporting",
                "--output-format=json",
                *more,
            ],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        (job,) = json.loads(done.stdout[done.stdout.index("{") :])["jobs"]
        assert job["error"] == 0
        return job

    wanted = 4 * soak(16 if size == "1m" else 4, 4) << 20
    job = fio("--do_verify=1", "--end_fsync=1")
    assert job["write"]["io_bytes"] == wanted
    assert job["read"]["io_bytes"] == wanted, "fio verified less than it wrote"
    shared_volume.remount()
    assert fio("--verify_only")["read"]["io_bytes"] >= 0
    for path in workdir.iterdir():
        path.unlink()


@pytest.mark.parametrize("engine", ["libaio", "io_uring"])
def test_direct_writes_in_flight_at_once_verify(engine, workdir):
    """Queue depth 16 in one file: the server has reads and writes of one inode side by side."""
    if shutil.which("fio") is None:
        pytest.skip("fio is not installed: apt install fio")
    done = subprocess.run(
        [
            "fio",
            "--name=deep",
            f"--filename={workdir}/file",
            "--rw=randwrite",
            "--bsrange=4k-256k",
            f"--size={soak(24, 4)}m",
            "--direct=1",
            f"--ioengine={engine}",
            "--iodepth=16",
            "--fallocate=none",
            "--verify=crc32c",
            "--verify_fatal=1",
            "--do_verify=1",
            "--verify_backlog=64",
        ],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if "not loadable" in done.stderr + done.stdout or "Function not implemented" in done.stderr:
        pytest.skip(f"fio has no engine {engine} here")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
