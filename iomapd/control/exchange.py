# SPDX-License-Identifier: MIT
"""Programs of a live mount: a new one made known, or put in the place of another.

A program may take another's place when every map stays what it is: it is admitted, and it puts
every block of every geometry where the other puts it - of all extents that there are, and of a
ladder of those to come.  Then one transaction leads the layouts to the new text.  No byte moves,
and whoever still runs the old code gets the same answers: it stays loaded until the unmount.

The proof is as long as the volume has geometries, so it is asked for in rounds; what is proved
is remembered for the next.  In the round that finds nothing left it is done.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import trio

from iomapd.abi.shipped import shipped_dir
from iomapd.control.comparing import Candidate, Comparer, to_come
from iomapd.errors import BadMappingError, ProgramError, UsageError
from iomapd.jit.admission.load import load_program
from iomapd.volume.program_source import ProgramSource, bind_params, param_names, read_program

if TYPE_CHECKING:
    from iomapd.control.core import Core
    from iomapd.meta.records import LayoutRecord, ProgramRecord

ROUND_BLOCKS: Final = 1 << 25
"""Blocks compared per round, about a second with the shipped programs."""

_Live = tuple[int, int, int, int]
"""Of extents that are there: layout, strips, strip length, seed (0: neither program asks)."""


@dataclass(frozen=True, slots=True)
class _Pair:
    """One layout row, and the two programs with its parameters."""

    row: LayoutRecord
    old: Candidate
    new: Candidate

    @property
    def uses_seed(self) -> bool:
        return self.old.loaded.admission.uses_seed or self.new.loaded.admission.uses_seed


@dataclass(slots=True)
class _Exchange:
    """What is known of one exchange, between its rounds."""

    old: ProgramRecord
    new: ProgramSource
    comparer: Comparer
    pairs: dict[int, _Pair] = field(default_factory=dict)
    proved: set[_Live] = field(default_factory=set)


class Exchanger:
    """Attaches and replaces programs of one mount."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._programs = core.programs
        self._under_way: _Exchange | None = None
        self._turn = trio.Lock()

    # -- attach

    async def attach(self, name: str, text: str | None) -> dict[str, Any]:
        """Examine a program and store it, so that layouts can name it.

        Args:
            name: of a shipped program, or what *text* is to be called.
            text: the source of a program of the user's own.

        Raises:
            ProgramError: it is refused.
            UsageError: the name is taken.
        """
        self._require_writable()
        source = self._programs.find(name, text)
        if text is not None and _is_shipped_otherwise(source):
            raise UsageError(
                f"program {name}: a shipped program has this name and another text; layouts "
                "would find that one, so give yours another name"
            )
        loaded = await trio.to_thread.run_sync(load_program, source.name, source.text, source.name)
        number = self._store(source)
        row = self._programs.rows[number]
        return {"name": row.name, "sha256": row.sha256, "params": list(loaded.admission.params)}

    def _store(self, source: ProgramSource) -> int:
        with self._core.operation() as op:
            return self._programs.add(source, op)

    def _require_writable(self) -> None:
        if self._core.read_only:
            raise OSError(errno.EROFS, "the mount is read-only")

    # -- replace

    async def replace(self, old: str, name: str, text: str | None) -> dict[str, Any]:
        """Make one round of putting a program in the place of *old*.

        Args:
            old: a program of the volume: its name, or NAME@DIGEST where several have it.
            name: as for `attach`, or NAME@DIGEST of a program of the volume.
            text: as for `attach`.

        Returns:
            ``done``; ``proved`` and ``total`` geometries of extents; ``blocks`` compared;
            and of both programs name and digest.

        Raises:
            ProgramError: the new one is refused, or maps something otherwise: where, and how.
            UsageError: there is no such program, or nothing uses it.
        """
        self._require_writable()
        async with self._turn:
            exchange = self._begin(self._row_of(old), self._source_of(name, text))
            for layout in self._live_layouts(exchange.old.id):
                if layout not in exchange.pairs:
                    await self._admit(exchange, self._core.layouts[layout])
            left = self._left(exchange)
            total = len(exchange.proved) + len(left)
            await trio.to_thread.run_sync(self._prove, exchange, left)
            # From here to the end of the commit there is no checkpoint: nothing comes between.
            done = len(exchange.proved) == total and self._is_complete(exchange)
            if done:
                self._commit(exchange)
                self._under_way = None
        if done:
            await self._show()
        return {
            "done": done,
            "proved": len(exchange.proved),
            "total": total,
            "blocks": exchange.comparer.blocks,
            "old": _called(exchange.old),
            "new": _called(exchange.new),
            "volume_program": self._programs.rows[self._root().program].name,
        }

    def _root(self) -> LayoutRecord:
        return self._core.layouts[self._core.store.root_layout]

    def _row_of(self, name: str) -> ProgramRecord:
        bare, _, digest = name.partition("@")
        rows = self._programs.rows.values()
        found = [row for row in rows if row.name == bare and row.sha256.startswith(digest)]
        if len(found) > 1 and len(used := [r for r in found if self._live_layouts(r.id)]) == 1:
            found = used
        if len(found) == 1:
            return found[0]
        if not found:
            known = ", ".join(sorted({row.name for row in rows}))
            raise UsageError(f"program {name}: the volume has none of this name; it has {known}")
        which = ", ".join(f"{row.name}@{row.sha256[:12]}" for row in found)
        raise UsageError(f"program {name}: the volume has several: {which}")

    def _source_of(self, name: str, text: str | None) -> ProgramSource:
        if text is None and "@" in name:
            row = self._row_of(name)
            return ProgramSource(row.name, row.source, Path(row.name))
        return self._programs.find(name, text)

    def _live_layouts(self, program: int) -> list[int]:
        live = self._core.store.live_layouts()
        rows = self._core.layouts
        return [layout for layout in live if layout in rows and rows[layout].program == program]

    def _begin(self, old: ProgramRecord, new: ProgramSource) -> _Exchange:
        if old.sha256 == new.sha256:
            raise UsageError(f"program {old.name} has this very text already")
        if not self._live_layouts(old.id):
            raise UsageError(f"program {old.name}: no file and no directory uses it")
        known = self._under_way
        if known is None or (known.old.id, known.new.sha256) != (old.id, new.sha256):
            self._under_way = known = _Exchange(old, new, Comparer())
        return known

    async def _admit(self, exchange: _Exchange, row: LayoutRecord) -> None:
        """Examine both programs with the parameters of a layout, and compare what may come."""
        old, new, programs = exchange.old, exchange.new, self._programs
        names = param_names(ProgramSource(old.name, old.source, Path(old.name)))
        given = dict(zip(names, row.params, strict=False))
        after = replace(row, params=bind_params(new, given, f"layout {row.id}"))
        _, loaded = programs.behind_layout(row)
        admitted = await trio.to_thread.run_sync(programs.admit, new, after)
        pair = _Pair(
            row,
            Candidate(_title(old), loaded, row.params),
            Candidate(_title(new), admitted, after.params),
        )
        await trio.to_thread.run_sync(self._compare_ladder, exchange, pair)
        exchange.pairs[row.id] = pair

    def _compare_ladder(self, exchange: _Exchange, pair: _Pair) -> None:
        most = min(pair.row.width or len(self._core.members), len(self._core.members))
        for geometry in to_come(pair.old, pair.new, pair.row.unit, most, pair.row.strip_max):
            if words := exchange.comparer.differ(pair.old, pair.new, *geometry):
                raise ProgramError(f"for files to come, {words}")

    def _left(self, exchange: _Exchange) -> list[_Live]:
        """Return the geometries of extents that are there and not compared yet."""
        found = {
            (layout, strips, length, seed if exchange.pairs[layout].uses_seed else 0)
            for layout, strips, length, seed in self._core.store.space.geometries()
            if layout in exchange.pairs
        }
        return sorted(found - exchange.proved)

    def _prove(self, exchange: _Exchange, left: list[_Live]) -> None:
        """Compare until a round is full; in a thread."""
        enough = exchange.comparer.blocks + ROUND_BLOCKS
        for live in left:
            layout, strips, length, seed = live
            pair = exchange.pairs[layout]
            if length > max(pair.row.strip_max, pair.row.unit):
                # What the store says is input: a lie would be computed block by block.
                raise BadMappingError(
                    f"strips of {length} B; layout {layout} allows {pair.row.strip_max}"
                )
            try:
                words = exchange.comparer.differ(
                    pair.old, pair.new, pair.row.unit, strips, length, seed
                )
            except ValueError as exc:
                raise BadMappingError(str(exc)) from None
            if words:
                raise ProgramError(f"for files that are there, {words}")
            exchange.proved.add(live)
            if exchange.comparer.blocks >= enough:
                return

    def _is_complete(self, exchange: _Exchange) -> bool:
        layouts = self._live_layouts(exchange.old.id)
        return set(layouts) <= exchange.pairs.keys() and not self._left(exchange)

    def _commit(self, exchange: _Exchange) -> None:
        """Lead the layouts to the new program, in the store and in memory; no checkpoint."""
        core, programs, store = self._core, self._programs, self._core.store
        led: dict[int, int] = {}
        with core.operation() as op:
            number = programs.add(exchange.new, op)
            for pair in exchange.pairs.values():
                after = replace(pair.row, program=number, params=pair.new.params)
                led[pair.row.id] = store.replace_layout(after)
        for pair in exchange.pairs.values():
            layout = led[pair.row.id]
            row = replace(pair.row, id=layout, program=number, params=pair.new.params)
            core.layouts[layout] = row
            programs.take_over(row, pair.new.loaded)
        store.root_layout = led.get(store.root_layout, store.root_layout)
        for inode in core.table:
            inode.layout = led.get(inode.layout, inode.layout)
        core.cache.clear()

    async def _show(self) -> None:
        """Let lanes take the new code from now on; the old one answers the same."""
        core = self._core
        for inode in list(core.table):
            if core.table.peek(inode.ino) is not inode:
                continue  # gone meanwhile
            async with core.gate.quiet(inode):
                core.publisher.unpublish(inode)


def _is_shipped_otherwise(source: ProgramSource) -> bool:
    try:
        shipped = read_program(source.name, shipped_dir("programs"), shipped_dir("programs"))
    except ProgramError:
        return False
    return shipped.sha256 != source.sha256


def _title(program: ProgramRecord | ProgramSource) -> str:
    return f"{program.name}@{program.sha256[:12]}"


def _called(program: ProgramRecord | ProgramSource) -> dict[str, str]:
    return {"name": program.name, "sha256": program.sha256}
