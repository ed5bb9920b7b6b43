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
SHAPE = {"size": 1 << 20, "files": 3, "readers": 2}
SECONDS = 60 * SOAK or 3
LONGEST_S = 3000 if SOAK else 80
# How soon the others show is a matter of luck: who ignores HOLD comes too late once in thousands
# of truncates.  tests/control/test_lane_rules.py shows each of the three in one step.
LEFT_OUT = ["marks first", *(["no slots", "no hold"] if SOAK else [])]


@pytest.fixture
def planted(make_volume, monkeypatch):
    """Mount a volume by a server with something planted."""

    def mount(plant, objects=""):
        def start(command, **more):
            words = [plant, str(objects), command[-1]]
            return subprocess.Popen([command[0], "-m", "tests.mounted.plants", *words], **more)

        volume = spoiled(make_volume, lanes="4")
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


@pytest.mark.skipif(not SOAK, reason="compiles the lanes once for each: IOMAPD_SOAK=1")
@pytest.mark.parametrize("plant", LEFT_OUT)
def test_a_rule_that_compiled_lanes_leave_out_is_seen(planted, plant, tmp_path):
    volume = planted(plant, tmp_path / "objects")
    volume.is_whole = False
    volume.expect_log(".")
    _, seen = crowds(volume, LONGEST_S, **SHAPE)
    assert seen
