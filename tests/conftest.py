# SPDX-License-Identifier: MIT
"""Rules of the whole test run: who may skip, and that nothing is left on the machine.

* As root with /dev/fuse there is no excuse: a mounted test runs, and fails where it
  cannot mount.  Elsewhere it is skipped with the reason.
* At the end no mount, loop device or process of this run may be left.  Each is found
  through the kernel (tests/mounted/plumbing.py), and only below this run's own
  directories or with this run's token in its environment: other runs may be busy on
  the same machine.
* Should the run itself be killed, a small reaper process, which waits for the end of
  a pipe, does the same sweep.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import hypothesis
import pytest

from tests.mounted import plumbing

# Nothing here asserts a time, and a busy machine is no failure.
hypothesis.settings.register_profile("iomapd", deadline=None)
hypothesis.settings.load_profile("iomapd")
TOKEN = uuid.uuid4().hex
_reaper: dict[str, subprocess.Popen] = {}


def why_not_mountable():
    """The reason why no mount is possible here, or None."""
    if not Path("/dev/fuse").exists():
        return "no /dev/fuse: modprobe fuse"
    if os.geteuid() == 0:
        return None
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse is not open to this user: chmod 0666 /dev/fuse, or make test-user as root"
    if shutil.which("fusermount3") is None:
        return "no fusermount3: apt install fuse3"
    return None


def let_programs_heed_signals():
    """Ignore by a handler what is ignored: only the former is not inherited (`man 7 signal`).

    What a shell starts in the background ignores Ctrl-C, and nohup a hangup; what is tested
    would ignore them as well.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def pytest_configure():
    let_programs_heed_signals()
    os.environ[plumbing.RUN_TOKEN] = TOKEN


def pytest_runtest_setup(item):
    if item.get_closest_marker("mounted") and os.environ.get("IOMAPD_TEST_HOST") != "1":
        reason = why_not_mountable()
        if reason:
            pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_left(tmp_path_factory):
    bases = [tmp_path_factory.getbasetemp().resolve(), plumbing.memory_home()]
    start_reaper(bases)
    yield
    left = plumbing.sweep(bases, TOKEN)
    shutil.rmtree(plumbing.memory_home(), ignore_errors=True)
    end_reaper()
    assert not left, "left behind by this test run, now removed:\n" + "\n".join(left)


def start_reaper(bases):
    """Start the process that sweeps when this one is gone, however it went."""
    environ = {k: v for k, v in os.environ.items() if k != plumbing.RUN_TOKEN}
    _reaper["process"] = subprocess.Popen(
        [sys.executable, "-m", "tests.mounted.reaper", TOKEN, *map(str, bases)],
        stdin=subprocess.PIPE,
        env=environ,
        cwd=Path(__file__).parent.parent,
        # Not killed together with the run by ^C or by the terminal.
        start_new_session=True,
    )


def end_reaper():
    """Tell the reaper that this run has cleaned up by itself."""
    process = _reaper.pop("process")
    process.communicate(b"clean\n", timeout=30)
