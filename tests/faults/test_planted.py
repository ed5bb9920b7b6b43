# SPDX-License-Identifier: MIT
"""The machine catches each planted bug, and finds nothing where nothing was planted."""

import re
from random import Random

import pytest

from tests.faults import cuts, machine
from tests.faults.planted import PLANTS
from tests.mounted.harness import soak

pytestmark = [pytest.mark.mounted, pytest.mark.slow]  # the recorder is a mount
PLAN = machine.Plan("scripted", 1, mounts=1, size=2 << 20, flush_seconds=0.004)
CLEAN = soak(6)  # states without a plant, for each script


def edges(recorded):
    """Every state at the edges, at every instant that is worth a cut."""
    return [
        cut
        for instant in cuts.cut_points(recorded.logs)
        if instant >= recorded.created
        for cut in cuts.extreme_cuts(recorded.logs, instant)
    ]


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_bug_is_caught(name, cut_path):
    planted, random = PLANTS[name], Random(1)
    healthy = machine.record(cut_path / "healthy", PLAN, planted.script)
    chosen = sorted(random.sample(edges(healthy), CLEAN), key=lambda cut: cut.instant)
    assert healthy.problems == []
    assert machine.check(healthy, chosen, cut_path / "state", only_look=True) == []

    spoilt = machine.record(cut_path / "spoilt", PLAN, planted.script, planted.plant())
    chosen = edges(spoilt)
    # Each of them, but one that shows it soon: a few in a hundred do.
    random.shuffle(chosen)
    found = machine.check(spoilt, chosen, cut_path / "state", only_look=True, count=False)
    assert found, f"{name} went unnoticed in {len(chosen)} states"
    assert re.search(planted.told, found[0]), found[0]
