# SPDX-License-Identifier: MIT
"""Power cuts under a real mount: recorded below a server, and what is left is mounted again."""

import os
from contextlib import closing
from random import Random

import pytest
import trio

from tests.faults import cuts, machine, plane
from tests.faults.checker import fsck, look
from tests.faults.mounted_plane import mounted
from tests.faults.recording import Recording
from tests.faults.workload import Workload
from tests.mounted.harness import ON_HOST, Volume, soak
from tests.mounted.tagged import content

pytestmark = [
    pytest.mark.mounted,
    pytest.mark.slow,
    pytest.mark.skipif(ON_HOST, reason="nothing is mounted"),
]
PLAN = machine.Plan("mixed", 5, steps=120, actors=1, mounts=1)


@pytest.fixture(autouse=True)
def _umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def volume_in(tmp_path):
    """A maker of volumes whose layout file, store and members lie in some directory."""
    made = []

    def make(directory):
        volume = Volume(tmp_path / f"v{len(made)}", members=0)
        volume.layout = plane.write_layout(directory, machine.MEMBERS, PLAN.size, machine.UNIT)
        made.append(volume)
        return volume

    yield make
    troubles = [line for volume in made for line in volume.close()]
    assert not troubles


@pytest.fixture
def recorded(cut_path, volume_in):
    """The logs of random work on a mount, by one application."""
    recording = Recording(cut_path / "log", flush_seconds=machine.FLUSH_SECONDS)
    machine.prefill(recording.backing, PLAN.size)
    with recording:
        volume = volume_in(recording.directory)
        volume.cli("create", volume.layout)
        recording.mark(machine.CREATED)
        work = Workload(recording.mark)
        with closing(volume):
            problems = trio.run(_work, volume, work)
    return machine.taken(PLAN, recording.logs(), work.oracle, problems)


async def _work(volume, work):
    script = machine.random_script(work, PLAN)
    async with mounted(volume) as plane:
        work.begin(plane)
        await script(work)
        await work.end()
        return work.oracle.judge_live(*await look(plane))


def test_a_mount_after_a_power_cut_needs_no_flag_and_no_repair(recorded, cut_path, volume_in):
    assert recorded.problems == []
    assert recorded.acknowledged()
    state = cut_path / "state"
    replay, volume = cuts.Replay(recorded.logs), volume_in(cut_path)
    for cut in recorded.choose(Random(5), soak(20)):
        replay.materialize(cut, state)
        volume.layout = plane.write_layout(state, machine.MEMBERS, PLAN.size, machine.UNIT)
        problems = trio.run(_check, volume, recorded, cut)
        problems += [*fsck(volume.layout), *volume.new_complaints()]
        assert not problems, f"{problems}\n{cuts.describe(recorded.logs, cut)}"


async def _check(volume, recorded, cut):
    async with mounted(volume) as plane:
        verdict = recorded.oracle.judge(*await look(plane), recorded.kept(cut.instant))
        handle = (await plane.create("newcomer"))[1]
        await plane.write(handle, 0, content(1, 100_000))
        await plane.fsync(handle)
        await plane.close(handle)
    machine.TALLY.states += 1
    machine.TALLY.mounted += 1
    machine.TALLY.checks += verdict.checks + 2
    machine.TALLY.violations += bool(verdict.problems)
    return verdict.problems
