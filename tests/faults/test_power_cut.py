# SPDX-License-Identifier: MIT
"""Power cuts anywhere in random work: what was promised is there, and nothing of anybody else.

A soak run records more logs with seeds of the day; IOMAPD_CUT_LOGS and IOMAPD_CUT_STATES
set how many logs of each kind of work, and how many states of each log.
"""

import os
import time
from random import Random

import pytest
import trio

from tests.faults import cuts, machine, plane
from tests.faults.checker import check_unfinished
from tests.faults.diets import DIETS
from tests.mounted.harness import SOAK, soak

LOGS = int(os.environ.get("IOMAPD_CUT_LOGS", soak(1, 10)))
STATES = int(os.environ.get("IOMAPD_CUT_STATES", soak(45, 4)))
FIRST_SEED = int(time.time()) if SOAK else 1

pytestmark = [pytest.mark.mounted, pytest.mark.slow]  # the recorder is a mount

# What is special about some of the work besides its diet.
SPECIAL = {
    "reuse": {"size": 3 << 19},  # less room than the files want
    "names": {"checkpoint": 128 << 10},  # the store's log begins anew several times
    "chains": {"mounts": 1, "actors": 5},
}


@pytest.mark.timeout(3600 if SOAK else 300)
@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + LOGS))
@pytest.mark.parametrize("diet", DIETS)
def test_every_promise_is_kept(diet, seed, cut_path):
    plan = machine.Plan(diet, seed, **SPECIAL.get(diet, {}))
    recorded = machine.record(cut_path / "log", plan)
    assert recorded.problems == []
    assert recorded.acknowledged(), "a log that promises nothing proves nothing"
    chosen = recorded.choose(Random(seed), STATES)
    violations = machine.check(recorded, chosen, cut_path / "state")
    assert not violations, "\n".join(violations)


def test_what_was_acknowledged_is_there_at_the_next_instant(cut_path):
    """The edges: power goes right after each acknowledgement, with nothing unflushed kept."""
    recorded = machine.record(cut_path / "log", machine.Plan("mixed", 2, steps=100, mounts=1))
    chosen = [cuts.Cut(instant) for instant in recorded.acknowledged()[: soak(30)]]
    violations = machine.check(recorded, chosen, cut_path / "state")
    assert not violations, "\n".join(violations)


def test_a_power_cut_during_the_recovery_from_one_loses_nothing_more(cut_path):
    recorded = machine.record(cut_path / "log", machine.Plan("mixed", 4, steps=100, mounts=1))
    random = Random(4)
    for number, first in enumerate(recorded.choose(random, soak(2))):
        kept, recovery = machine.record_recovery(cut_path / f"r{number}", recorded, first)
        chosen = recovery.choose(random, 12)
        violations = machine.check(recovery, chosen, cut_path / "state", kept=kept)
        assert not violations, "\n".join([*violations, cuts.describe(recorded.logs, first)])


def test_a_create_that_lost_its_power_can_be_repeated(cut_path):
    recorded = machine.record(cut_path / "log", machine.Plan("names", 3, steps=2, mounts=1))
    random, replay = Random(3), cuts.Replay(recorded.logs)
    points = [p for p in cuts.cut_points(recorded.logs) if p < recorded.created]
    for instant in sorted(random.choices(points, k=soak(30))):
        extreme = cuts.extreme_cuts(recorded.logs, instant)
        cut = random.choice([*extreme, cuts.random_cut(recorded.logs, instant, random)])
        replay.materialize(cut, cut_path / "state")
        layout = plane.write_layout(cut_path / "state", machine.MEMBERS, machine.SIZE, machine.UNIT)
        machine.TALLY.states += 1
        with machine.quick_checksums():
            problems = trio.run(check_unfinished, layout)
        assert not problems, f"{problems}\n{cuts.describe(recorded.logs, cut)}"
