# SPDX-License-Identifier: MIT
"""A place in memory for recordings, and a line that says how much was checked."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from tests.faults import machine
from tests.mounted import plumbing


@pytest.fixture
def cut_path(tmp_path):
    """A directory of the test's own, in memory where there is room: states are made by hundreds."""
    if not Path("/dev/shm").is_dir():
        yield tmp_path
        return
    directory = plumbing.memory_home() / tmp_path.name
    directory.mkdir(parents=True)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


# With tests in several processes each has its own tally; they are added up where all report.


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    for name, count in getattr(node, "workeroutput", {}).get("power_cuts", {}).items():
        setattr(machine.TALLY, name, getattr(machine.TALLY, name) + count)


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["power_cuts"] = dataclasses.asdict(machine.TALLY)


def pytest_terminal_summary(terminalreporter):
    if machine.TALLY.logs:
        terminalreporter.write_line(f"power cuts: {machine.TALLY}")
