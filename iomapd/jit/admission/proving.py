# SPDX-License-Identifier: MIT
"""Proofs of whole extents: the compiled loop of ``mapping/proof.py``, and its words."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from iomapd.abi import FALLBACK
from iomapd.abi.program import (
    CTX_ADDR,
    CTX_COUNT,
    CTX_LENGTH,
    CTX_NR_STRIPS,
    CTX_P0,
    CTX_SEED,
    CTX_SIZE,
    CTX_STRIP,
    CTX_STRIP_LENGTH,
    CTX_UNIT,
    NR_PARAMS,
    WORD,
)
from iomapd.abi.units import BLOCK, MAX_FILE_SIZE
from iomapd.jit.unit import load_unit
from iomapd.mapping import proof
from iomapd.native.memory import load64, store64
from iomapd.native.region import Region

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_OUTPUTS: Final = {"strip": CTX_STRIP, "addr": CTX_ADDR, "length": CTX_LENGTH}


@dataclass(frozen=True, slots=True)
class Geometry:
    """Everything that the map of one extent depends on, besides the program.

    Attributes:
        unit: stripe unit, bytes; a positive multiple of `BLOCK`.
        nr_strips: > 0.
        strip_length: bytes of a strip; a positive multiple of `BLOCK`.
        seed: the ino that made the extent; any value for programs that do not use it.
        params: at most `NR_PARAMS` values; missing ones are 0.

    Raises:
        ValueError: a value breaks its rule; the caller vouches for them.
    """

    unit: int
    nr_strips: int
    strip_length: int
    seed: int = 0
    params: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        good = (
            self.unit > 0
            and self.unit % BLOCK == 0
            and self.nr_strips > 0
            and self.strip_length > 0
            and self.strip_length % BLOCK == 0
            and self.length <= MAX_FILE_SIZE
            and len(self.params) <= NR_PARAMS
        )
        if not good:
            raise ValueError(f"{self} is no geometry of an extent")

    @property
    def length(self) -> int:
        """Bytes of the extent."""
        return self.nr_strips * self.strip_length

    @property
    def nr_blocks(self) -> int:
        """Blocks of the extent."""
        return self.length // BLOCK

    def fill(self, ctx: int) -> None:
        """Write the inputs, all but pos and count, to the record at address *ctx*."""
        store64(ctx + CTX_UNIT, self.unit)
        store64(ctx + CTX_NR_STRIPS, self.nr_strips)
        store64(ctx + CTX_STRIP_LENGTH, self.strip_length)
        store64(ctx + CTX_SEED, self.seed)
        for index in range(NR_PARAMS):
            value = self.params[index] if index < len(self.params) else 0
            store64(ctx + CTX_P0 + index * WORD, value)

    def __str__(self) -> str:
        words = [f"unit={self.unit}", f"nr_strips={self.nr_strips}"]
        words += [f"strip_length={self.strip_length}", f"seed={self.seed}"]
        words += [f"p{index}={value}" for index, value in enumerate(self.params) if value]
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Proof:
    """What came of computing a whole map.

    Attributes:
        ok: the map is a bijection onto the strips.
        sentence: what is wrong, with position and geometry; empty when nothing is.
        blocks: how many blocks were asked.
        ns: nanoseconds it took.
        prefix: ok, and for every k the first k rows of the file lie in the first k units of
            every strip: this very extent can be cut after any row.
        raid0: ok, and every block lies where the raid0 formula puts it.
        declined: the program answered FALLBACK for the first block: it does not serve this
            geometry, and nothing is wrong with that.
    """

    ok: bool
    sentence: str
    blocks: int
    ns: int
    prefix: bool
    raid0: bool
    declined: bool = False


class Prover:
    """Proves extents.  One object serves any number of threads; the lock of Python is not held.

    Args:
        interpreted: run the proof in the interpreter, a thousand times slower; for tests.
    """

    def __init__(self, *, interpreted: bool = False) -> None:
        self._prove: Callable[..., int] = proof.prove_map
        self._find: Callable[..., int] = proof.find_block
        self._same: Callable[..., int] = proof.same_places
        if not interpreted:
            entries = (proof.prove_map, proof.find_block, proof.same_places)
            unit = load_unit("proof", entries)
            self._prove = unit.function("prove_map")
            self._find = unit.function("find_block")
            self._same = unit.function("same_places")

    def prove(self, address: int, geometry: Geometry) -> Proof:
        """Compute the map of *geometry* with the program at *address*.

        Takes about 10 ns per block, and a bit of memory per block.
        """
        ctx, report = Region(CTX_SIZE), Region(proof.REPORT_SIZE)
        bitmap = Region(-(-geometry.nr_blocks // 8))
        geometry.fill(ctx.addr)
        start = time.perf_counter_ns()
        verdict = self._prove(address, ctx.addr, bitmap.addr, report.addr)
        ns = time.perf_counter_ns() - start
        at = load64(report.addr + proof.AT)
        if verdict == proof.PROVEN:
            prefix = bool(load64(report.addr + proof.IS_PREFIX))
            raid0 = bool(load64(report.addr + proof.IS_RAID0))
            return Proof(True, "", at // BLOCK, ns, prefix, raid0)
        status = load64(report.addr + proof.ANSWER)
        other = self._collision(verdict, address, ctx.addr)
        sentence = f"the block at pos {at} {_words(verdict, status, ctx.addr, other)} ({geometry})"
        declined = verdict == proof.NOT_HANDLED and status == FALLBACK and at == 0
        return Proof(False, sentence, at // BLOCK + 1, ns, False, False, declined)

    def _collision(self, verdict: int, address: int, ctx: int) -> int:
        """Find the block that has the place of the one in *ctx*, whose answer is kept."""
        if verdict != proof.OVERLAP:
            return 0
        answer = {offset: load64(ctx + offset) for offset in _OUTPUTS.values()}
        other = self._find(address, ctx, answer[CTX_STRIP], answer[CTX_ADDR])
        for offset, value in answer.items():
            store64(ctx + offset, value)
        return other

    def grows_in_place(self, address: int, geometry: Geometry) -> bool:
        """Tell whether an extent with strips of double length begins with the same map."""
        shorter, longer = Region(CTX_SIZE), Region(CTX_SIZE)
        geometry.fill(shorter.addr)
        replace(geometry, strip_length=2 * geometry.strip_length).fill(longer.addr)
        return self._same(address, shorter.addr, longer.addr) == proof.PROVEN


def fault_of(status: int, geometry: Geometry, pos: int, answers: Mapping[str, int]) -> str:
    """Say which rule one answer breaks; empty for a good one.

    Args:
        status: what the program returned.
        geometry: the extent it was asked about.
        pos: the block it was asked for.
        answers: strip, addr and length.
    """
    ctx = Region(CTX_SIZE)
    geometry.fill(ctx.addr)
    store64(ctx.addr + CTX_COUNT, geometry.length - pos)
    for name, offset in _OUTPUTS.items():
        store64(ctx.addr + offset, answers[name])
    verdict = proof.judge(ctx.addr, status)
    if verdict == proof.PROVEN:
        return ""
    return _words(verdict, status, ctx.addr, other=0)


def _words(verdict: int, status: int, ctx: int, other: int) -> str:
    """Say what is wrong with the answer in *ctx*; *other* is the block it collides with."""
    strip, addr, length = (load64(ctx + offset) for offset in _OUTPUTS.values())
    place = f"address {addr} of strip {strip}"
    match verdict:
        case proof.NOT_HANDLED:
            name = "FALLBACK" if status == FALLBACK else status
            return f"is answered with {name}, not HANDLED"
        case proof.BAD_STRIP:
            return f"goes to strip {strip}, which is not in 0..{load64(ctx + CTX_NR_STRIPS) - 1}"
        case proof.BAD_ADDR:
            return f"goes to address {addr}, which is not a multiple of {BLOCK}"
        case proof.OUTSIDE:
            size = load64(ctx + CTX_STRIP_LENGTH)
            return f"goes to {place}, which leaves the {size} bytes of a strip"
        case proof.BAD_LENGTH:
            return f"gets length {length}, which is not a positive multiple of {BLOCK}"
        case proof.PAST_END:
            rest = load64(ctx + CTX_COUNT)
            return f"gets length {length}, but the extent ends after {rest} bytes"
        case proof.OVERLAP:
            return f"goes to {place}, where the block at pos {other} is already"
        case proof.CONTRADICTION:
            return f"goes to {place} with length {length}; the answer before said otherwise"
    return "could not be asked: the program crashed"
