# SPDX-License-Identifier: MIT
"""The power-cut machine: record work, cut the power anywhere, check what is left.

    record   a workload on a volume whose files lie on the recorder
    choose   instants and what of the unflushed writes reached the media
    check    each state, opened by the library without FUSE

Members are filled with bytes of nobody's before create: what a file never wrote
confesses when it is read.
"""

from __future__ import annotations

import functools
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING
from unittest.mock import patch

import trio

from iomapd.volume import crc32c as checksums
from tests.faults import cuts, plane
from tests.faults.checker import FSCK, LOOK, USE, check_state, look
from tests.faults.diets import RandomWork
from tests.faults.recording import Recording
from tests.faults.workload import Workload
from tests.mounted import tagged

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.faults.promises import Oracle

    Script = Callable[[Workload], Awaitable[None]]

MEMBERS, SIZE, UNIT = 3, 3 << 20, "16KiB"
CREATED = "created"
NOBODY = 666_666  # file number of what lay on the members before
FLUSH_SECONDS = 0.002  # long enough for others to get between a flush and its answer


@dataclass(slots=True)
class Tally:
    """What was done in a run of tests."""

    logs: int = 0
    entries: int = 0
    promises: int = 0
    states: int = 0
    mounted: int = 0
    checks: int = 0
    violations: int = 0

    def __str__(self) -> str:
        return (
            f"{self.logs} logs of {self.entries} entries with {self.promises} promises; "
            f"{self.states} states ({self.mounted} of them mounted), {self.checks} checks, "
            f"{self.violations} violations"
        )


TALLY = Tally()


@dataclass(frozen=True, slots=True)
class Plan:
    """What to record.

    Attributes:
        diet: kind of work, of `diets.DIETS`.
        seed: of the work; in what order it meets the threads of the product, nobody knows.
        steps: of all actors together, over all mounts.
        actors: how many things go on at once.
        mounts: how often the volume is opened, one after the other.
        size: of a member, bytes.
        flush_seconds: how long a flush takes.
        checkpoint: bytes of the store's log from which on it is moved into the store.
    """

    diet: str
    seed: int
    steps: int = 150
    actors: int = 3
    mounts: int = 2
    size: int = SIZE
    flush_seconds: float = FLUSH_SECONDS
    checkpoint: int = 64 << 20


@dataclass(slots=True)
class Recorded:
    """The logs of one workload, and what it knows.

    Attributes:
        plan: what was asked for.
        logs: what was done to each file.
        oracle: what happened to the volume and what was promised.
        problems: what was wrong before any power was cut.
    """

    plan: Plan
    logs: cuts.Logs
    oracle: Oracle
    problems: list[str]

    def instants(self, random: Random, count: int) -> list[int]:
        """*count* instants since the volume was made, ascending."""
        points = cuts.cut_points(self.logs, random, count)
        return sorted(random.choices([p for p in points if p >= self.created], k=count))

    @property
    def created(self) -> int:
        """The instant from which on there is a volume."""
        return self._marks(CREATED)[0]

    def _marks(self, start: str) -> list[int]:
        log = self.logs[cuts.DIRECTORY]
        return [e.sequence for e in log if e.kind == cuts.Kind.MARK and e.mark.startswith(start)]

    def kept(self, instant: int) -> int:
        """How many promises had been made."""
        return sum(sequence <= instant for sequence in self.acknowledged())

    def acknowledged(self) -> list[int]:
        """The instants at which something was promised."""
        return self._marks("promise ")

    def choose(self, random: Random, count: int) -> list[cuts.Cut]:
        """*count* different states, by ascending instant."""
        chosen = []
        for instant in self.instants(random, count):
            if random.random() < 0.4:
                chosen.append(random.choice(cuts.extreme_cuts(self.logs, instant)))
            else:
                chosen.append(cuts.random_cut(self.logs, instant, random))
        return chosen


def prefill(directory: Path, size: int) -> None:
    """Make member images that are full of somebody else's bytes."""
    directory.mkdir(parents=True, exist_ok=True)
    old = tagged.content(NOBODY, size)
    for index in range(MEMBERS):
        (directory / f"m{index}.img").write_bytes(old)


def record(
    base: Path,
    plan: Plan,
    script: Script | None = None,
    plant: AbstractContextManager | None = None,
) -> Recorded:
    """Record work on a volume below *base*.

    Args:
        base: an empty or absent directory.
        plan: the volume, and what is done to it.
        script: done instead of the random work of *plan*, at each opening.
        plant: spoils the product meanwhile.
    """
    recording = Recording(base, flush_seconds=plan.flush_seconds)
    prefill(recording.backing, plan.size)
    often = patch("iomapd.control.points.CHECKPOINT_WAL", plan.checkpoint)
    kept = patch("iomapd.meta.database.LOG_KEPT", plan.checkpoint // 4)
    with recording, often, kept, plant or nullcontext(), quick_checksums():
        layout = plane.write_layout(recording.directory, MEMBERS, plan.size, UNIT)
        plane.create(layout)
        recording.mark(CREATED)
        workload = Workload(recording.mark)
        script = script or random_script(workload, plan)
        problems = trio.run(_work, layout, plan, workload, script)
    return taken(plan, recording.logs(), workload.oracle, problems)


def record_recovery(base: Path, recorded: Recorded, cut: cuts.Cut) -> tuple[int, Recorded]:
    """Record how the volume that *cut* left is opened and ended.

    Returns:
        How many promises had been made, and the logs: whatever they are cut to has to keep them.
    """
    recording = Recording(base, flush_seconds=recorded.plan.flush_seconds)
    cuts.materialize(recorded.logs, cut, recording.backing)
    with recording, quick_checksums():
        layout = plane.write_layout(recording.directory, MEMBERS, recorded.plan.size, UNIT)
        recording.mark(CREATED)
        trio.run(_open_and_end, layout)
    return recorded.kept(cut.instant), taken(recorded.plan, recording.logs(), recorded.oracle, [])


async def _open_and_end(layout: Path) -> None:
    async with plane.opened(layout):
        pass


def taken(plan: Plan, logs: cuts.Logs, oracle: Oracle, problems: list[str]) -> Recorded:
    """Count and return what was recorded."""
    TALLY.logs += 1
    TALLY.entries += sum(map(len, logs.values()))
    TALLY.promises += len(oracle.promises)
    return Recorded(plan, logs, oracle, problems)


def random_script(workload: Workload, plan: Plan) -> Script:
    """The random work of *plan*, spread over its openings."""
    work = RandomWork(workload, Random(plan.seed), plan.diet)

    async def run(_workload: Workload) -> None:
        await work.run(plan.steps // plan.mounts, plan.actors)

    return run


async def _work(layout: Path, plan: Plan, workload: Workload, script: Script) -> list[str]:
    for _ in range(plan.mounts):
        async with plane.opened(layout) as volume:
            workload.begin(volume)
            await script(workload)
            await workload.end()
            tree, contents = await look(volume)
    return workload.oracle.judge_live(tree, contents)


def check(
    recorded: Recorded,
    chosen: list[cuts.Cut],
    directory: Path,
    *,
    enough: int = 1,
    only_look: bool = False,
    count: bool = True,
    kept: int | None = None,
) -> list[str]:
    """Check *chosen* states in *directory*.

    Args:
        recorded: where they come from.
        chosen: by ascending instant, which is quickest.
        directory: made and emptied for each.
        enough: so many violations end it.
        only_look: open and judge, no fsck and no use.
        count: in the tally; not where violations are wanted.
        kept: how many promises had been made, if the logs do not say it.

    Returns:
        What was violated, in words.
    """
    with quick_checksums():
        tally = TALLY if count else Tally()
        return trio.run(_check, recorded, chosen, directory, enough, only_look, tally, kept)


async def _check(recorded, chosen, directory, enough, only_look, tally, known) -> list[str]:
    replay, violations = cuts.Replay(recorded.logs), []
    for number, cut in enumerate(chosen):
        replay.materialize(cut, directory)
        layout = plane.write_layout(directory, MEMBERS, recorded.plan.size, UNIT)
        kept = recorded.kept(cut.instant) if known is None else known
        depth = LOOK if only_look else (USE if number % 3 == 0 else FSCK)
        verdict = await check_state(layout, recorded.oracle, kept, depth)
        tally.states += 1
        tally.checks += verdict.checks
        if verdict.problems:
            tally.violations += 1
            told = "\n  ".join(verdict.problems[:5])
            violations.append(f"{recorded.plan}\n  {told}\n{cuts.describe(recorded.logs, cut)}")
            if len(violations) >= enough:
                break
    return violations


@contextmanager
def quick_checksums() -> Iterator[None]:
    """Compute each CRC32C once: opening hundreds of volumes is otherwise half of the time."""
    known = functools.lru_cache(4096)(checksums.crc32c)
    with patch("iomapd.volume.superblock.crc32c", lambda data: known(bytes(data))):
        yield
