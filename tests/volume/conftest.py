# SPDX-License-Identifier: MIT
"""Volumes on files and loop devices for the tests of this room."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.volume import builders


@pytest.fixture
def volume(tmp_path):
    """Three members of 4 MiB with good superblocks."""
    return builders.build(tmp_path)


@pytest.fixture
def attach():
    """A function that attaches a loop device to a file; all are detached at the end."""
    if os.geteuid() != 0 or not Path("/dev/loop-control").exists():
        pytest.skip("loop devices need root and /dev/loop-control")
    devices = []

    def attach_one(path, *options):
        command = ["losetup", "--find", "--show", *options, str(path)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=20)
        devices.append(done.stdout.strip())
        return Path(devices[-1])

    yield attach_one
    for device in devices:
        subprocess.run(["losetup", "--detach", device], check=True, timeout=20)
