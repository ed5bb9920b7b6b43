# SPDX-License-Identifier: MIT
"""The crowds of test_truth.py see it when a rule of the data plane is left out.

With every rule in place, the same slow server with its lanes in the interpreter shows none.
"""

import subprocess
from types import SimpleNamespace

import pytest

from iomapd.server import launch
from tests.mounted.harness import IO_MODE, LANES, ON_HOST, SOAK
from tests.mounted.test_truth import crowds, spoiled

pytestmark = [
    pytest.mark.skipif(ON_HOST, reason="nothing can be planted into the host's file system"),
    pytest.mark.skipif(bool(LANES or IO_MODE), reason="lanes and modes are chosen here"),
]
# Three members hold some 3 MiB; four files want 4, so what is freed has a new owner at once.
SHAPE = {"size": 1 << 20, "files": 1, "readers": 3}
SECONDS = 60 * SOAK or 3
LONGEST_S = 80
# "marks first" shows within 6 s, "no slots" within 14, "no hold" within 11: six tries each, half of
# them sooner than in 6 s.  tests/control/test_lane_rules.py shows each of them in one step.
LEFT_OUT = ["marks first", "no slots", "no hold"]


@pytest.fixture
def planted(make_volume, monkeypatch):
    """Mount a volume by a server with something planted."""

    def mount(plant):
        def start(command, **more):
            words = [command[0], "-m", "tests.mounted.plants", plant, command[-1]]
            return subprocess.Popen(words, **more)

        volume = spoiled(make_volume, lanes="12", sizes=("2MiB",))
        volume.expect_log("interpreted")
        monkeypatch.setattr(
            launch, "subprocess", SimpleNamespace(Popen=start, PIPE=subprocess.PIPE)
        )
        return volume.mount("io=buffered")

    return mount


def test_nothing_is_seen_when_nothing_is_left_out(planted):
    _, seen = crowds(planted("nothing"), SECONDS, **SHAPE)
    assert not seen


@pytest.mark.parametrize("plant", LEFT_OUT)
def test_a_rule_that_is_left_out_is_seen(planted, plant):
    volume = planted(plant)
    volume.is_whole = False  # marks without extents are one way in which it shows
    volume.expect_log("has no extent")
    _, seen = crowds(volume, LONGEST_S, **SHAPE)
    assert seen
