# SPDX-License-Identifier: MIT
"""The states in which a power cut may leave recorded files.

A cut is an instant - a sequence number; what comes later never happened - and what of
the unflushed writes reached the media by then.  The rules:

  - What was written before a file's last flush, or with O_DSYNC, is there.
  - Of the later writes of a file any subset is there, each whole or torn: any of its
    512-byte sectors.  Of two writes to one sector the later one that is there wins, for
    they met in a cache, whose sector held both.
  - Files know nothing of each other: any subset of one goes with any subset of another.
  - A truncate is ordered with the writes of its file: while it is not there, nothing
    later is, and a later durable write makes it durable.
  - A file is as long as its durable size or the end of the last write that is there.
  - Names (made, removed, renamed) are durable with an fsync of the directory and only
    then; of the later changes a prefix is there, as journals keep it.

A file without a name is not made; a name whose bytes were never flushed may be empty.
"""

from __future__ import annotations

import shutil
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING

from tests.faults.images import Image, number_of, settled
from tests.faults.log import Entry, Kind

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

Logs = Mapping[str, Sequence[Entry]]
DIRECTORY = "."
SHARES = (0.1, 0.5, 0.9)
TORN_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Cut:
    """One state.

    Attributes:
        instant: everything with a later sequence number never happened.
        kept: by log, indexes of the unflushed entries that are there.
        torn: by log, index -> the sectors, counted within the entry, that are there.
    """

    instant: int
    kept: Mapping[str, frozenset[int]] = field(default_factory=dict)
    torn: Mapping[str, Mapping[int, frozenset[int]]] = field(default_factory=dict)


def window(log: Sequence[Entry], instant: int) -> tuple[int, int]:
    """Indexes ``[start, end)`` of the entries since the last flush before *instant*."""
    end = bisect_right(log, instant, key=attrgetter("sequence"))
    start = end
    while start and log[start - 1].kind != Kind.FLUSH:
        start -= 1
    return start, end


def unflushed(log: Sequence[Entry], instant: int) -> list[int]:
    """Indexes of the changes that a cut at *instant* may or may not leave."""
    start, end = window(log, instant)
    durable = settled(log, start, end)
    changes = (Kind.WRITE, Kind.TRUNCATE, Kind.NAME)
    return [i for i in range(start, end) if log[i].kind in changes and i not in durable]


def cut_points(logs: Logs, random: Random | None = None, extra: int = 0) -> list[int]:
    """Instants worth a cut, ascending: at every flush and mark, just before, and *extra* others."""
    entries = [entry for log in logs.values() for entry in log]
    last = max((entry.sequence for entry in entries), default=0)
    points = {e.sequence for e in entries if e.kind in (Kind.FLUSH, Kind.MARK)}
    points |= {point - 1 for point in points} | {last}
    if random is not None:
        points |= {random.randint(1, last) for _ in range(extra)}
    return sorted(points - {0})


def random_cut(logs: Logs, instant: int, random: Random) -> Cut:
    """One of the states a cut at *instant* may leave; *random* decides which."""
    kept, torn = {}, {}
    for name, log in logs.items():
        loose = unflushed(log, instant)
        if not loose:
            continue
        chosen = _choose(log, loose, random)
        kept[name] = frozenset(chosen)
        torn[name] = _tear(log, chosen, random)
    return Cut(instant, kept, {name: tears for name, tears in torn.items() if tears})


def _choose(log: Sequence[Entry], loose: list[int], random: Random) -> list[int]:
    way = random.randrange(4)
    if log[loose[0]].kind == Kind.NAME or way == 0:
        return loose[: random.randint(0, len(loose))]
    if way == 1:
        return random.choice([loose, []])
    share = random.choice(SHARES)
    chosen = []
    for index in loose:
        if random.random() < share:
            chosen.append(index)
        elif log[index].kind == Kind.TRUNCATE:
            break
    return chosen


def _tear(log: Sequence[Entry], chosen: list[int], random: Random) -> dict[int, frozenset[int]]:
    torn = {}
    for index in chosen:
        nr_sectors = log[index].nr_sectors
        if nr_sectors > 1 and random.random() < TORN_SHARE:
            if random.random() < 0.5:
                sectors = range(random.randint(0, nr_sectors))
            else:
                sectors = [s for s in range(nr_sectors) if random.random() < 0.5]
            torn[index] = frozenset(sectors)
    return torn


def is_image(name: str) -> bool:
    """Whether *name* is a member rather than a file of the store."""
    return ".db" not in name


def extreme_cuts(
    logs: Logs, instant: int, is_member: Callable[[str], bool] = is_image
) -> list[Cut]:
    """The states at the edges: nothing or everything unflushed of some or all files.

    Nothing; everything; everything but one file, for each; one file only, for each; the
    store only, the members only.  Names are all there or, once more, all not.
    """
    loose = {name: frozenset(unflushed(log, instant)) for name, log in logs.items()}
    loose = {name: indexes for name, indexes in loose.items() if indexes}
    files = set(loose) - {DIRECTORY}
    members = {name for name in files if is_member(name)}
    choices: list[Iterable[str]] = [(), files, members, files - members]
    choices += [files - {name} for name in sorted(files)] + [{name} for name in sorted(files)]
    cuts = [
        Cut(instant, {name: loose[name] for name in sorted({*chosen, *names} & set(loose))})
        for chosen in choices
        for names in ([{DIRECTORY}, set()] if DIRECTORY in loose else [set()])
    ]
    return [cut for at, cut in enumerate(cuts) if cut not in cuts[:at]]


class Replay:
    """Makes states of one set of logs; quick when instants ascend."""

    def __init__(self, logs: Logs) -> None:
        self._logs = logs
        self._names = {number_of(log): name for name, log in logs.items() if name != DIRECTORY}
        self._images = {name: Image(logs[name]) for name in self._names.values()}

    def materialize(self, cut: Cut, directory: Path) -> None:
        """Write the files of that state into *directory*, which is emptied first."""
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        for name, number in self._names_at(cut).items():
            key = self._names[number]
            start, end = window(self._logs[key], cut.instant)
            image = self._images[key]
            image.advance(start)
            kept = cut.kept.get(key, frozenset())
            image.write_to(directory / name, end, kept, cut.torn.get(key, {}))

    def _names_at(self, cut: Cut) -> dict[str, int]:
        """The directory: name -> number of the file."""
        log = self._logs[DIRECTORY]
        start, end = window(log, cut.instant)
        kept = cut.kept.get(DIRECTORY, frozenset())
        names: dict[str, int] = {}
        for index, entry in enumerate(log[:end]):
            if entry.kind == Kind.NAME and (index < start or index in kept):
                what, *words = entry.mark.split(" ")
                if what == "create":
                    names[words[1]] = int(words[0])
                elif what == "unlink":
                    del names[words[0]]
                else:
                    names[words[1]] = names.pop(words[0])
        return names


def materialize(logs: Logs, cut: Cut, directory: Path) -> None:
    """Write the files of one state into *directory*; for many states keep a `Replay`."""
    Replay(logs).materialize(cut, directory)


def describe(logs: Logs, cut: Cut) -> str:
    """Say in a few lines what a cut left, for the message of a failed check."""
    lines = [f"power cut after entry {cut.instant}"]
    for name, log in logs.items():
        loose = unflushed(log, cut.instant)
        if not loose:
            continue
        kept = cut.kept.get(name, frozenset())
        lines.append(f"  {name}: {len(kept)} of {len(loose)} unflushed changes")
        for index in loose:
            entry = log[index]
            what = entry.mark or f"write of {entry.length} at {entry.offset}"
            fate = "there" if index in kept else "lost"
            if index in cut.torn.get(name, {}):
                fate = f"torn, sectors {sorted(cut.torn[name][index])}"
            lines.append(f"    {entry.sequence}: {what}: {fate}")
    return "\n".join(lines)
