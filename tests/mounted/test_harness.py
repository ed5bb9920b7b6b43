# SPDX-License-Identifier: MIT
"""The harness itself: it ends what hangs, and leaves nothing behind even when it is killed."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.mounted import plumbing
from tests.mounted.harness import ON_HOST, ROOT, is_root

pytestmark = pytest.mark.skipif(ON_HOST, reason="nothing is mounted")


def test_a_process_stuck_in_a_mount_is_freed_by_the_abort_file(make_volume):
    volume = make_volume(members=1, sizes=("16MiB",))
    volume.expect_log("abort")
    (volume.mnt / "file").write_bytes(b"x" * 100_000)
    fd = os.open(volume.mnt / "file", os.O_RDONLY | os.O_DIRECT)
    pid = volume.server_pid()
    os.kill(pid, signal.SIGSTOP)  # a server that does not answer, and is not dead
    with ThreadPoolExecutor(1) as pool:
        stuck = pool.submit(os.pread, fd, 4096, 0)
        # Aborting races the request on purpose: sent or not, it must end.
        volume.abort()
        with pytest.raises(OSError):
            stuck.result(timeout=30)
    with pytest.raises(OSError):
        os.close(fd)
    os.kill(pid, signal.SIGCONT)
    assert plumbing.wait_for_exit(pid, 30)
    for entry in plumbing.fuse_mounts_under(volume.base):
        plumbing.detach_mount(entry.target)


SUICIDE = """
import os, signal, sys
from pathlib import Path
from tests import conftest
from tests.mounted import plumbing
from tests.mounted.harness import Volume

base = Path(sys.argv[1])
os.environ[plumbing.RUN_TOKEN] = conftest.TOKEN
conftest.start_reaper([base])
Volume(base / "v0", members=2, sizes=("16MiB",), loop=os.geteuid() == 0).create().mount()
assert plumbing.fuse_mounts_under(base)
print(conftest.TOKEN, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_run_is_swept_by_the_reaper(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", SUICIDE, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True,
        stderr=subprocess.PIPE,
    ) as run:  # fmt: skip
        # The reaper holds stderr until it is done.
        out, words = run.communicate(timeout=60)
    assert run.returncode == -signal.SIGKILL, words
    assert not plumbing.fuse_mounts_under(tmp_path)
    assert not plumbing.processes_with(plumbing.RUN_TOKEN, out.strip())
    assert not plumbing.loop_devices_under(tmp_path)
    for kind in ["mount", "process"] + ["loop device"] * is_root():
        assert f"reaper: removed {kind}" in words


def test_the_log_check_sees_what_no_test_declared(tmp_path, make_volume):
    volume = make_volume(members=1, sizes=("16MiB",))
    with volume.log.open("a") as log:
        log.write("2026-01-01 00:00:00,000 INFO iomapd: all is well\n")
        log.write("2026-01-01 00:00:00,000 WARNING iomapd: something is odd\n")
        log.write("2026-01-01 00:00:00,000 ERROR iomapd: declared trouble\n")
    volume.expect_log("declared")
    (complaint,) = volume.new_complaints()
    assert complaint.endswith("something is odd")
    assert volume.new_complaints() == []
