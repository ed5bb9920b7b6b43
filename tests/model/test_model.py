# SPDX-License-Identifier: MIT
"""The whole file system against a model in Python, in this process; see tests/mounted too."""

import functools
import itertools

import pytest

from iomapd.volume import superblock
from tests.model.in_process import InProcess
from tests.model.machine import play
from tests.mounted import plumbing
from tests.mounted.harness import SOAK, soak


@pytest.fixture
def memory(tmp_path, monkeypatch):
    """A directory in memory; superblocks there are summed once, not at every mount."""
    summed = functools.cache(superblock.crc32c)
    monkeypatch.setattr(superblock, "crc32c", lambda data: summed(bytes(data)))
    home = plumbing.memory_home() / tmp_path.name
    home.mkdir(parents=True)
    return home


@pytest.mark.slow
@pytest.mark.timeout(3600 if SOAK else 300)
def test_the_control_plane_follows_the_model(memory):
    number = itertools.count()
    play(lambda plan: InProcess(memory / str(next(number)), plan), soak(12, 20), 60)
