# SPDX-License-Identifier: MIT
"""The oracle of a power cut: what a volume may be afterwards, and what it must be.

Two kinds of things happen to a volume.  *Operations* change names and attributes; they
are numbered, and after each the whole tree is kept.  *Events* change the bytes and the
size of one file; a truncate is both.  The rules of `docs/durability.md`, as they are
judged here:

    tree     is the tree after some operation k: a prefix of all, in order; k is not
             before the last operation that was promised
    file     there is an event p, not before the last that was promised for this file,
             at which a durability point copied it.  Its size is the size after p, changed
             by truncates between p and k; p is not beyond a truncate that is lost
    bytes    each sector of 512 bytes holds what the file held there at p or later,
             and nothing else: torn, but its own, and never older

A replacing rename promises the data of its source, if it is itself in the prefix.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.mounted import tagged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.plane import Node

SECTOR = 512
Tree = dict[str, "Node"]


@dataclass(frozen=True, slots=True)
class Event:
    """One change of a file's bytes.

    Attributes:
        size: of the file afterwards, bytes.
        operation: number of the operation that a truncate is; 0 for a write.
        written: ``[start, end)`` of a write, bytes.
    """

    size: int
    operation: int = 0
    written: tuple[int, int] = (0, 0)

    def __str__(self) -> str:
        if self.operation:
            return f"truncate to {self.size} (operation {self.operation})"
        return f"write {self.written[0]} to {self.written[1]}"


@dataclass(slots=True)
class History:
    """All that a file ever held: of each sector every content, with its event.

    Attributes:
        data: the bytes now.
        medium: the same and what lies behind the end in its block: a truncate leaves it
            there, until the file grows over it.  Lost, that truncate shows it again,
            with what was written beside it since.
        sectors: ``(event, contents that the sector may show since)``, by sector.
        is_split: one write of an application reaches the volume as several, cut between
            blocks; a point may come in between.
    """

    ino: int
    is_split: bool = False
    data: bytearray = field(default_factory=bytearray)
    medium: bytearray = field(default_factory=bytearray)
    events: list[Event] = field(default_factory=lambda: [Event(0)])
    sectors: dict[int, list[tuple[int, set[bytes]]]] = field(default_factory=dict)

    @property
    def now(self) -> int:
        """Number of the last event."""
        return len(self.events) - 1

    def write(self, pos: int, data: bytes) -> None:
        """Bytes were written."""
        end, before = pos + len(data), len(self.data)
        if pos > before:
            del self.medium[before:]
        for held in (self.data, self.medium):
            held.extend(bytes(max(0, end - len(held))))
            held[pos:end] = data
        self._happened(Event(len(self.data), 0, (pos, end)), min(pos, before), end)

    def truncate(self, size: int, operation: int) -> None:
        """The size was set."""
        before = len(self.data)
        block_end = -(-min(size, before) // tagged.BLOCK) * tagged.BLOCK
        del self.medium[before if size > before else block_end :]
        for held in (self.data, self.medium):
            held.extend(bytes(max(0, size - len(held))))
        del self.data[size:]
        # Growing, it is zeroed up to the end of its block; what follows is so already.
        changed = max(before, block_end) if size > before else before
        self._happened(Event(size, operation), min(before, size), changed)

    def _happened(self, event: Event, start: int, end: int) -> None:
        self.events.append(event)
        for sector in range(start // SECTOR, -(-end // SECTOR)):
            contents = {
                bytes(held[sector * SECTOR : (sector + 1) * SECTOR]).ljust(SECTOR, b"\0")
                for held in (self.data, self.medium)
            }
            self.sectors.setdefault(sector, [(0, {bytes(SECTOR)})]).append((self.now, contents))

    # -- judging

    def judge(self, found: bytes, promised: int, prefix: int) -> str | None:
        """Say what is wrong with *found*, the file's bytes after the cut, or None.

        Args:
            found: all of the file.
            promised: the last event whose result must be there.
            prefix: the last operation that is there.
        """
        valid: list[int] = []
        for start in range(0, len(found), SECTOR):
            held = found[start : start + SECTOR]
            last = self._last_valid(start // SECTOR, held)
            if last is None:
                return f"byte {start}: {_whose(found, start // SECTOR)}"
            if last < promised:
                kind = "old bytes" if any(held) else "zeros"
                overwritten = f"{kind}, overwritten by event {last + 1}"
                return f"byte {start}: {overwritten}; event {promised} was promised"
            valid.append(last)
        points = list(self._points(len(found), promised, prefix))
        if not points:
            sizes = [event.size for event in self.events[promised:]]
            return f"size {len(found)}; from event {promised} on it was {sizes}"
        newest = min(valid, default=self.now)
        for number, (grown_from, grown) in points:
            if number <= newest and min(valid[-(-grown_from // SECTOR) :], default=grown) >= grown:
                return None
        return (
            f"size {len(found)} is of event {points[0][0]} or {points[0][1][1]}, but some bytes "
            f"are of event {newest} at the latest"
        )

    def _last_valid(self, sector: int, held: bytes) -> int | None:
        """The last event after which *sector* held *held*."""
        last = self.now
        for event, contents in reversed(self.sectors.get(sector, [(0, {bytes(SECTOR)})])):
            if held in contents or any(content.startswith(held) for content in contents):
                return last
            last = event - 1
        return None

    def _points(
        self, size: int, promised: int, prefix: int
    ) -> Iterator[tuple[int, tuple[int, int]]]:
        """Events from which a point could have left a file of *size* bytes.

        Yields:
            The event, and where and by which truncate it grew since: behind that place
            all is as of then, while before it overwritten bytes may be lost.
        """
        for number in range(promised, len(self.events)):
            if self.events[number].operation > prefix:
                return
            sizes = dict.fromkeys(self._sizes_at(number), (0, 0))
            for later in range(number + 1, len(self.events)):
                event = self.events[later]
                if event.operation and event.operation <= prefix:
                    # Upwards at once, or with younger data of the file.
                    below = [s for s in sizes if s < event.size]
                    grown = {event.size: (max(below), later)} if below else {}
                    sizes = grown | {min(s, event.size): how for s, how in sizes.items()}
            if size in sizes:
                yield number, sizes[size]

    def _sizes_at(self, number: int) -> set[int]:
        """Sizes that a point after event *number* may have copied."""
        size = self.events[number].size
        sizes = {size}
        if self.is_split and number < self.now and not self.events[number + 1].operation:
            start = -(-size // tagged.BLOCK) * tagged.BLOCK
            sizes.update(range(start, self.events[number + 1].size, tagged.BLOCK))
        return sizes


def _whose(found: bytes, sector: int) -> str:
    """Say whose bytes these are, as far as they tell."""
    start = sector * SECTOR // tagged.BLOCK * tagged.BLOCK
    held = found[sector * SECTOR : (sector + 1) * SECTOR]
    try:
        tag = tagged.read_tag(found[start : start + tagged.BLOCK])
    except AssertionError as exc:
        return f"bytes that the file never held there ({exc}): {held[:32].hex()}"
    return f"bytes that the file never held there, of {tag}"


@dataclass(frozen=True, slots=True)
class Promise:
    """What an acknowledgement promised: all operations up to one, events of files."""

    operation: int = 0
    events: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class Verdict:
    """*problems* of a state, and what was looked at."""

    problems: list[str]
    checks: int = 0


class Oracle:
    """Everything that happened to a volume and everything that was promised."""

    def __init__(self) -> None:
        self.trees: list[Tree] = [{}]
        self.files: dict[int, History] = {}
        self.promises: list[Promise] = []
        # (operation, ino, event): if the operation is there, so is the event.
        self._conditions: list[tuple[int, int, int]] = []

    @property
    def operation(self) -> int:
        """Number of the last operation."""
        return len(self.trees) - 1

    def operated(self, tree: Tree) -> int:
        """An operation was done that led to *tree*; return its number."""
        self.trees.append(dict(tree))
        return self.operation

    def bind(self, operation: int, ino: int, event: int) -> None:
        """Whoever sees *operation* must see *event* of *ino*."""
        self._conditions.append((operation, ino, event))

    def promise(self, promise: Promise) -> str:
        """Keep a promise; return the text of the mark that dates it."""
        self.promises.append(promise)
        return f"promise {len(self.promises)}"

    def judge(self, tree: Tree, contents: dict[int, bytes], kept: int) -> Verdict:
        """Judge a state.

        Args:
            tree: every name but the root's.
            contents: bytes by inode number, of every regular file in *tree*.
            kept: how many promises had been made.
        """
        made = self.promises[:kept]
        least = max((promise.operation for promise in made), default=0)
        fitting = [k for k, known in enumerate(self.trees) if known == tree]
        if not fitting:
            return Verdict([f"a tree of no instant: {self._nearest(tree)}"], 1)
        if fitting[-1] < least:
            lost = f"operations after {fitting[-1]} are lost; {least} was promised"
            return Verdict([f"{lost}: {_differences(self.trees[least], tree)}"], 1)
        verdicts = []
        for prefix in (k for k in fitting if k >= least):
            verdicts.append(self._judge_files(contents, made, prefix))
            if not verdicts[-1].problems:
                return verdicts[-1]
        return min(verdicts, key=lambda verdict: len(verdict.problems))

    def judge_live(self, tree: Tree, contents: dict[int, bytes]) -> list[str]:
        """Judge a volume whose power was never cut: all is as it was written."""
        wrong = [f"inode {ino}" for ino, data in contents.items() if data != self.files[ino].data]
        if tree != self.trees[-1]:
            wrong.append(_differences(self.trees[-1], tree))
        return [f"without a power cut: {what}" for what in wrong]

    def _judge_files(self, contents: dict[int, bytes], made: list[Promise], prefix: int) -> Verdict:
        promised: dict[int, int] = {}
        bound = [{ino: event} for k, ino, event in self._conditions if k <= prefix]
        for events in [*(promise.events for promise in made), *bound]:
            for ino, event in events.items():
                promised[ino] = max(promised.get(ino, 0), event)
        verdict = Verdict([], 1)
        for ino, found in contents.items():
            verdict.checks += 1 + len(found) // SECTOR
            problem = self.files[ino].judge(found, promised.get(ino, 0), prefix)
            if problem is not None:
                history = "; ".join(f"{n} {e}" for n, e in enumerate(self.files[ino].events))
                where = f"inode {ino}, {len(found)} bytes, operations up to {prefix}"
                verdict.problems.append(f"{where}: {problem}; its events: {history}")
        return verdict

    def _nearest(self, tree: Tree) -> str:
        nearest = min(self.trees, key=lambda known: len(set(known.items()) ^ set(tree.items())))
        return f"nearest is {self.trees.index(nearest)}: {_differences(nearest, tree)}"


def _differences(expected: Tree, found: Tree) -> str:
    paths = sorted(p for p in {*expected, *found} if expected.get(p) != found.get(p))
    shown = [f"{p}: expected {expected.get(p)}, found {found.get(p)}" for p in paths[:5]]
    return "; ".join([*shown, f"{len(paths)} names differ"])
