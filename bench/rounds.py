# SPDX-License-Identifier: MIT
"""Taking turns: every job on every candidate in every round, and what follows from that.

A figure is the median over rounds.  A ratio is the median over rounds of the ratio *within* a
round, so that both of its sides have met the machine in the same mood; its spread is half of what
lies between the best and the worst round, relative to the median.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from statistics import median
from typing import Any

from bench.candidates import Candidate, settle
from iomapd.tools.fio import Point, Rate, Target, fill, measure

WARM_UP_SECONDS = 0.1
GIB = float(1 << 30)

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Job:
    """Something that is measured of each candidate.

    Attributes:
        name: for the table.
        unit: of its figures.
        panel: of a sweep: which chart it belongs to.
        x: of a sweep: its place there.
    """

    name: str
    unit: str = field(default="GiB/s", kw_only=True)
    panel: str = field(default="", kw_only=True)
    x: int = field(default=0, kw_only=True)


@dataclass(frozen=True)
class Access(Job):
    """A pattern of access to *file* in each candidate's directory; GiB/s, or k/s of requests."""

    point: Point
    file: str = "file"

    def figure(self, rate: Rate) -> float:
        """Return *rate* in `unit`."""
        return rate.bandwidth / GIB if self.unit == "GiB/s" else rate.iops / 1000


@dataclass(frozen=True)
class Goal:
    """A figure is to be at least *factor* times another one of the same round.

    *at_most* turns it around: for figures of which less is better.
    """

    job: str
    factor: float
    of: str
    of_job: str = ""
    candidate: str = "lanes"
    at_most: bool = False

    @property
    def wanted(self) -> str:
        """The bound, in words."""
        return f"{'<=' if self.at_most else '>='} {self.factor:g}"

    def is_met_by(self, ratios: Sequence[float]) -> bool:
        """Tell whether the median of *ratios* is on the right side."""
        found = median(ratios)
        return found <= self.factor if self.at_most else found >= self.factor

    @property
    def base(self) -> tuple[str, str]:
        """Job and candidate that it is compared with."""
        return self.of_job or self.job, self.of


@dataclass
class Results:
    """Every figure of every counted round, by names of job and candidate."""

    jobs: dict[str, Job]
    candidates: dict[str, Candidate]
    figures: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))

    def median(self, job: str, candidate: str) -> float | None:
        """Return the median over rounds, or None when it was not measured."""
        found = self.figures.get((job, candidate))
        return median(found) if found else None

    def ratios(self, goal: Goal) -> list[float]:
        """Return the ratio of each round; empty when one side was not measured."""
        ours = self.figures.get((goal.job, goal.candidate), [])
        base = self.figures.get(goal.base, [])
        return [mine / its for mine, its in zip(ours, base, strict=False)]

    def body(self) -> list[dict[str, Any]]:
        """Return all figures for JSON."""
        return [
            {
                "job": job,
                "candidate": candidate,
                "unit": self.jobs[job].unit,
                "median": median(rounds),
                "rounds": rounds,
            }
            for (job, candidate), rounds in self.figures.items()
        ]


def spread(rounds: Sequence[float]) -> float:
    """Return half the distance from the best to the worst round, relative to the median."""
    return (max(rounds) - min(rounds)) / 2 / median(rounds)


def take_turns(
    jobs: Sequence[Access],
    candidates: Sequence[Candidate],
    *,
    size: int,
    rounds: int,
    seconds: float,
    progress: Progress,
) -> Results:
    """Let fio do every job on every candidate, *rounds* times and once for warming up.

    Args:
        jobs: in this order within a round.
        candidates: each round begins with another one.
        size: of each file, bytes.
        rounds: that count.
        seconds: of each measurement.
        progress: told what is going on.
    """
    results = Results({j.name: j for j in jobs}, {c.name: c for c in candidates})
    progress("writing files", 0, 0)
    for candidate in candidates:
        _prepare(candidate, jobs, size)
    steps = (rounds + 1) * len(jobs)
    for number, (place, job) in product(range(rounds + 1), enumerate(jobs)):
        progress(f"round {number}: {job.name}", number * len(jobs) + place, steps)
        turn = number % len(candidates)
        targets = [
            Target(candidate.name, (candidate.directory / job.file,), size)
            for candidate in (*candidates[turn:], *candidates[:turn])
        ]
        rates = measure(job.point, targets, seconds if number else WARM_UP_SECONDS)
        for name, rate in rates.items():
            if number:
                results.figures[job.name, name].append(job.figure(rate))
    return results


def _prepare(candidate: Candidate, jobs: Sequence[Access], size: int) -> None:
    """Write the files of *jobs* from start to end; a fresh one is made by its job."""
    files = {candidate.directory / job.file for job in jobs if not job.point.fresh}
    fill(sorted(files), size)
    settle(candidate.directory)
