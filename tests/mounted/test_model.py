# SPDX-License-Identifier: MIT
"""The whole file system against the model of tests/model, through system calls."""

import pytest

from tests.model.machine import play
from tests.model.on_mount import OnMount
from tests.mounted import plumbing
from tests.mounted.harness import ON_HOST, soak

pytestmark = pytest.mark.skipif(ON_HOST, reason="the host's kernel cannot be killed")
MIB = 1 << 20


def test_a_mount_follows_the_model(make_volume):
    volume = make_volume(members=3, sizes=("2MiB",), unit="8KiB", memory=True, mounted=False)
    for path in volume.members:
        plumbing.spoil(path, MIB, MIB // 2)
    volume.mount()
    play(lambda _plan: OnMount(volume), soak(2, 30), 50)
