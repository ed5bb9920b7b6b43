# SPDX-License-Identifier: MIT
"""The volume's mapping programs: stored source, compiled code, proofs of extents.

A mount compiles the *stored* source, never a file of that name; a file that
differs is another program, for new files only.  The proof that counts is made
when an extent is made: its whole map is computed and must be a bijection onto its
strips.  It is remembered per (layout, strips, strip length, seed).
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from iomapd.abi import PROGRAM_ABI
from iomapd.abi.shipped import shipped_dir
from iomapd.dataplane.engine import EncodedExtent, encode
from iomapd.errors import BadMappingError, ProgramError
from iomapd.jit.admission.load import LoadedProgram, load_program
from iomapd.jit.admission.proving import Geometry, Prover
from iomapd.meta.check_header import source_digest
from iomapd.meta.records import ProgramRecord
from iomapd.volume.program_source import ProgramSource, param_names, read_program

if TYPE_CHECKING:
    from iomapd.control.core import Operation
    from iomapd.jit.admission.proving import Proof
    from iomapd.mapping.extent import Extent
    from iomapd.meta.records import LayoutRecord
    from iomapd.meta.store import Store

log = logging.getLogger(__name__)

PROOFS_KEPT: Final = 65_536


@dataclass(slots=True)
class ProgramCounters:
    """Counts since the mount; *proof_ns* is time spent proving extents."""

    proofs: int = 0
    proofs_failed: int = 0
    proof_blocks: int = 0
    proof_ns: int = 0


class Programs:
    """Programs of one mount, by their row in the store.

    Args:
        store: where the sources are.
        built_in: every program is answered by the raid0 formula (``mapper=record``).
    """

    def __init__(self, store: Store, *, built_in: bool) -> None:
        self.counters = ProgramCounters()
        self._store = store
        self._built_in = built_in
        self.rows = store.programs()
        self.layouts = store.layouts()
        self._loaded: dict[tuple[int, tuple[int, ...]], LoadedProgram] = {}
        self._refused: dict[int, str] = {}
        self._proofs: OrderedDict[tuple[int, int, int, int], Proof] = OrderedDict()
        self._prover: Prover | None = None

    # -- code

    def load_live(self) -> None:
        """Load the programs that live layouts name; blocks, before serving.

        A program that is refused costs only its own files: they give EIO.

        Raises:
            ProgramError: it is the volume's own program, without which next to
                nothing could be served; or the built-in formula is asked for and a
                live program's map is another one.
        """
        if not self._built_in:
            # Compiling it, on a cold cache, belongs here and not into a write.
            self._prover = Prover()
        for number in self._store.live_layouts():
            layout = self.layouts.get(number)
            if layout is None:
                log.error("layout %d is not there; what names it gives EIO", number)
                continue
            name = self.rows[layout.program].name
            try:
                loaded = self._load(layout)
            except ProgramError as exc:
                if layout.id == self._store.root_layout:
                    raise ProgramError(f"program {name} of the volume: {exc}") from None
                log.error("program %s: %s; its files give EIO", name, exc)
                continue
            # Extents of one strip ask no program.
            if self._built_in and layout.width != 1 and not loaded.admission.is_raid0:
                raise ProgramError(
                    f"mapper=record: program {name} maps otherwise than raid0, and files or "
                    "directories use it; mount with mapper=program"
                )

    def _load(self, layout: LayoutRecord) -> LoadedProgram:
        """Return the code of *layout*'s program, examined with the layout's parameters."""
        key = (layout.program, layout.params)
        if layout.program in self._refused:
            raise ProgramError(self._refused[layout.program])
        loaded = self._loaded.get(key)
        if loaded is None:
            row = self.rows[layout.program]
            try:
                if source_digest(row.source) != row.sha256:
                    raise ProgramError("its source is not what its SHA-256 says")
                loaded = load_program(row.name, row.source, row.name, stored=True)
                if loaded.admission.params:
                    loaded = load_program(
                        row.name, row.source, row.name, params=layout.params, stored=True
                    )
            except ProgramError as exc:
                self._refused[layout.program] = str(exc)
                raise
            self._loaded[key] = loaded
        return loaded

    @property
    def have_ends(self) -> bool:
        """Whether some program wants to hear of ends."""
        return any(p.end_address or p.ioend_address for p in self._loaded.values())

    def behind(self, extent: Extent) -> tuple[int, LoadedProgram]:
        """Return row and code of the program that maps *extent*."""
        return self.behind_layout(self.layouts[extent.layout])

    def behind_layout(self, layout: LayoutRecord) -> tuple[int, LoadedProgram]:
        """Return row and code of a layout's program.

        Raises:
            ProgramError: it is refused here.
        """
        return layout.program, self._load(layout)

    def take_over(self, row: LayoutRecord, loaded: LoadedProgram) -> None:
        """A layout has another program from now on; the code before stays where it is."""
        self._refused.pop(row.program, None)
        self._loaded[row.program, row.params] = loaded
        for key in [key for key in self._proofs if key[0] == row.id]:
            del self._proofs[key]

    def is_prefix(self, layout: int) -> bool:
        """Tell whether extents of *layout* may be made larger than asked and trimmed."""
        if self._built_in:
            return True
        return bool(self._load(self.layouts[layout]).admission.prefix)

    def encode(self, extent: Extent) -> EncodedExtent:
        """Lay *extent* out with the code that maps it.

        Raises:
            ProgramError: its program is refused here.
        """
        layout = self.layouts[extent.layout]
        row = self.rows[layout.program]
        # A program that is refused does not matter to an extent of one strip.
        if self._built_in or len(extent.strips) == 1:
            return encode(extent, layout.params, name=row.name)
        loaded = self._load(layout)
        return encode(extent, layout.params, loaded.address, row.name, loaded.walk_address)

    # -- proofs

    def serves(self, layout: LayoutRecord, nr_strips: int, strip_length: int, seed: int) -> bool:
        """Prove the map of an extent that is about to be made.

        Returns:
            False when the program declines this geometry (it answers FALLBACK).

        Raises:
            BadMappingError: the map is no bijection; names the program.
        """
        if self._built_in:
            return True
        proof = self._prove(layout, nr_strips, strip_length, seed)
        if proof.ok or proof.declined:
            return proof.ok
        name = self.rows[layout.program].name
        raise BadMappingError(f"program {name}: {proof.sentence}")

    def prove(self, extent: Extent) -> None:
        """Prove the map of an extent that is there already.

        Raises:
            BadMappingError: the map is no bijection, or its program declines it now.
            ProgramError: its program is refused.
        """
        layout = self.layouts[extent.layout]
        if not self.serves(layout, len(extent.strips), extent.strip_length, extent.seed):
            name = self.rows[layout.program].name
            raise BadMappingError(f"program {name}: declines the geometry of an extent it has made")

    def can_cut(self, extent: Extent) -> bool:
        """Tell whether *extent* may lose its last rows: by its own proof, not by a ladder's.

        The first k rows of the file must lie in the first k units of every strip.
        """
        if self._built_in or len(extent.strips) == 1:
            return True
        layout = self.layouts[extent.layout]
        proof = self._prove(layout, len(extent.strips), extent.strip_length, extent.seed)
        return proof.prefix

    def _prove(self, layout: LayoutRecord, nr_strips: int, strip_length: int, seed: int) -> Proof:
        if strip_length > max(layout.strip_max, layout.unit):
            # What the store says is input: a lie would be computed block by block.
            raise BadMappingError(
                f"strips of {strip_length} B; layout {layout.id} allows {layout.strip_max}"
            )
        loaded = self._load(layout)
        key = (layout.id, nr_strips, strip_length, seed if loaded.admission.uses_seed else 0)
        proof = self._proofs.get(key)
        if proof is None:
            proof = self._proofs[key] = self._proof(loaded, layout, nr_strips, strip_length, seed)
            if len(self._proofs) > PROOFS_KEPT:
                self._proofs.popitem(last=False)
        return proof

    def try_out(self, loaded: LoadedProgram, layout: LayoutRecord, nr_strips: int) -> Proof:
        """Prove an admitted program on the smallest full extent of a layout not made yet."""
        return self._proof(loaded, layout, nr_strips, layout.strip_min, seed=1)

    def _proof(
        self, loaded: LoadedProgram, layout: LayoutRecord, nr_strips: int, length: int, seed: int
    ) -> Proof:
        if self._prover is None:
            self._prover = Prover()
        geometry = Geometry(layout.unit, nr_strips, length, seed, layout.params)
        proof = self._prover.prove(loaded.address, geometry)
        self.counters.proofs += 1
        self.counters.proofs_failed += not proof.ok
        self.counters.proof_blocks += proof.blocks
        self.counters.proof_ns += proof.ns
        return proof

    # -- new programs and layouts

    def find(self, name: str, text: str | None) -> ProgramSource:
        """Return the source that *name* means: *text* if given, else what is shipped or known.

        Raises:
            ProgramError: there is no such program.
        """
        if text is not None:
            return ProgramSource(name, text, shipped_dir("programs") / name)
        known = [row for row in self.rows.values() if row.name == name]
        try:
            return read_program(name, shipped_dir("programs"), shipped_dir("programs"))
        except ProgramError:
            if not known:
                raise
        newest = known[-1]
        return ProgramSource(newest.name, newest.source, shipped_dir("programs") / newest.name)

    def admit(self, source: ProgramSource, layout: LayoutRecord) -> LoadedProgram:
        """Examine a program for this volume; blocks for seconds, any thread.

        Raises:
            ProgramError: it is refused, or maps otherwise than ``mapper=record`` can.
        """
        given = layout.params if param_names(source) else None
        loaded = load_program(source.name, source.text, source.name, params=given)
        if self._built_in and layout.width != 1 and not loaded.admission.is_raid0:
            raise ProgramError(
                f"program {source.name}: maps otherwise than raid0, and the volume is mounted "
                "with mapper=record; mount with mapper=program"
            )
        return loaded

    def add(self, source: ProgramSource, op: Operation) -> int:
        """Store an admitted program unless the volume has its text; return its row's id.

        Args:
            source: its text and name.
            op: the caller's; `rows` has the program when it has committed.
        """
        for row in self.rows.values():
            if row.sha256 == source.sha256:
                return row.id
        row = ProgramRecord(0, source.name, PROGRAM_ABI, source.sha256, source.text)
        number = self._store.add_program(row)
        op.then(partial(self.rows.__setitem__, number, replace(row, id=number)))
        return number

    # -- for people

    def label(self, number: int) -> str:
        """Return what statistics call a program, by its row: name and start of its digest."""
        row = self.rows[number]
        return f"{row.name}@{row.sha256[:12]}"

    def describe(self) -> list[dict[str, Any]]:
        """Return the programs as ``info --json`` shows them."""
        return [
            {
                "name": row.name,
                "abi": row.abi,
                "sha256": row.sha256,
                "class": self._class_of(row.id),
                "differs_from_shipped": self._differs(row),
            }
            for row in self.rows.values()
        ]

    def warnings(self) -> list[str]:
        """Return a sentence per program that a user should know about."""
        told = [
            f"program {self.rows[number].name}: {why}; its files give EIO"
            for number, why in self._refused.items()
        ]
        told += [
            f"program {row.name}: the shipped file of this name differs; files here keep theirs"
            for row in self.rows.values()
            if self._differs(row)
        ]
        return told

    def _class_of(self, number: int) -> str:
        classes = {
            "prefix" if loaded.admission.prefix else "fixed"
            for (program, _), loaded in self._loaded.items()
            if program == number
        }
        if not classes:
            return "refused" if number in self._refused else "not loaded"
        return " or ".join(sorted(classes))  # parameters may decide it

    def _differs(self, row: ProgramRecord) -> bool:
        try:
            shipped = read_program(row.name, shipped_dir("programs"), shipped_dir("programs"))
        except ProgramError:
            return False
        return shipped.sha256 != row.sha256
