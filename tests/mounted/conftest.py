# SPDX-License-Identifier: MIT
"""Fixtures of the mounted tests: volumes that end themselves, logs that must be clean."""

from __future__ import annotations

import faulthandler
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.mounted import harness

HERE = Path(__file__).parent
# A mounted test that has not ended by then is stuck: its mounts are aborted, so that
# it fails with an error instead of hanging beyond kill -9.
STUCK_SECONDS = 100
SOAK_STUCK_SECONDS = 3600

_live: list[harness.Volume] = []


@pytest.fixture(scope="session", autouse=True)
def compiled_lanes():
    """Compile the data plane before the first mount: on a cold cache it takes longer than a test.

    In a process of its own: this one never imports numba.
    """
    if not harness.ON_HOST:
        code = "from iomapd.transport.lanes import compile_lanes as c; c()"
        subprocess.run([sys.executable, "-c", code], check=True, timeout=900)


def stuck_seconds() -> int:
    return SOAK_STUCK_SECONDS if harness.SOAK else STUCK_SECONDS


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.mounted)
            item.add_marker(pytest.mark.slow)
            if item.get_closest_marker("timeout") is None:
                # Later than the watchdog below, and by a signal: the finalizers run.
                item.add_marker(pytest.mark.timeout(stuck_seconds() + 30, method="signal"))


def pytest_generate_tests(metafunc):
    """Run the tests of a shared volume in each cache mode that `CACHES` of their file names."""
    caches = getattr(metafunc.module, "CACHES", ())
    chosen = harness.ON_HOST or harness.CACHE is not None
    if caches and not chosen and "shared_volume" in metafunc.fixturenames:
        metafunc.parametrize("shared_volume", caches, indirect=True, scope="module")


def _end_volume(volume):
    """Close *volume*; return what was wrong, complaints in its log included."""
    _live.remove(volume)
    problems = [*volume.close(), *volume.new_complaints()]
    return [*problems, volume.log_tail()] if problems else []


class _Maker:
    """Makes volumes below one directory and ends them together."""

    def __init__(self, base):
        self.base = base
        self.made = []

    def __call__(self, **plan):
        options = plan.pop("options", ())
        mounted = plan.pop("mounted", True)
        if plan.get("loop") and not harness.is_root():
            pytest.skip("loop devices need root")
        volume = harness.make_volume(self.base / f"v{len(self.made)}", **plan)
        self.made.append(volume)
        _live.append(volume)
        volume.create()
        return volume.mount(*options) if mounted else volume

    def end(self):
        problems = [line for volume in reversed(self.made) for line in _end_volume(volume)]
        assert not problems, "\n".join(problems)


@pytest.fixture
def make_volume(tmp_path):
    """A maker of volumes that are taken away after the test."""
    maker = _Maker(tmp_path)
    yield maker
    maker.end()


@pytest.fixture(scope="module")
def shared_volume(tmp_path_factory, request):
    """One mounted volume for a whole file; `VOLUME` says what kind, `CACHES` in which modes."""
    maker = _Maker(tmp_path_factory.mktemp(request.module.__name__.rpartition(".")[2]))
    plan = dict(getattr(request.module, "VOLUME", {}))
    if hasattr(request, "param"):
        plan["options"] = (*plan.get("options", ()), f"cache={request.param}")
    yield maker(**plan)
    maker.end()


@pytest.fixture
def workdir(shared_volume, request):
    """A fresh directory inside the shared volume, one per test."""
    directory = shared_volume.mnt / request.node.name.replace("/", "_")[:200]
    directory.mkdir()
    return directory


@pytest.fixture(autouse=True)
def _watchdog():
    """Abort the mounts of a test that hangs, and fail it."""
    expired = threading.Event()

    def end_the_mounts():
        expired.set()
        faulthandler.dump_traceback(sys.__stderr__, all_threads=True)
        for volume in list(_live):
            volume.abort()

    timer = threading.Timer(stuck_seconds(), end_the_mounts)
    timer.daemon = True
    timer.start()
    yield
    timer.cancel()
    timer.join()
    assert not expired.is_set(), f"stuck for {stuck_seconds()} s: the mounts were aborted"


@pytest.fixture(autouse=True)
def _clean_logs(_watchdog):
    """No server may complain during a test that has not declared it."""
    yield
    complaints = [f"{v.base.name}: {line}" for v in _live for line in v.new_complaints()]
    assert not complaints, "undeclared complaints in the server's log:\n" + "\n".join(complaints)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Show the end of every live server's log with a failure."""
    report = yield
    if report.failed and HERE in item.path.parents:
        for volume in _live:
            report.sections.append((f"log of {volume.base}", volume.log_tail()))
    return report
