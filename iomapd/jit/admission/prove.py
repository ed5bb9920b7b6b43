# SPDX-License-Identifier: MIT
"""Stage 6, prove: the whole map of a ladder of geometries, and the class of the program.

This finds the mistakes of honest programs and refuses them early, with words.  It cannot find a
program that is right on the ladder and wrong beyond; what keeps other files' data safe is
the proof of each extent when it is made (`proving.Prover`), by the same code.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Final, NamedTuple

from iomapd.abi.program import BEGIN
from iomapd.abi.units import BLOCK
from iomapd.errors import ProgramError
from iomapd.jit.admission.proving import Geometry, Prover
from iomapd.jit.admission.source import refusal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from iomapd.jit.admission.tree import ParsedProgram

_KIB: Final = 1 << 10
_MIB: Final = 1 << 20
_GIB: Final = 1 << 30

UNITS: Final = (4 * _KIB, 12 * _KIB, 64 * _KIB, 256 * _KIB, _MIB, 4 * _MIB)
NR_STRIPS: Final = (1, 2, 3, 4, 5, 7, 8, 12, 16, 31, 64)
ROWS: Final = (1, 2, 3, 7, 8, 16, 64)
SEEDS: Final = (1, 2, 3, 12345, 2**62 + 1)

# The sweep takes every combination up to this size; a few larger extents follow.
_SWEEP_BLOCKS: Final = 1 << 14
_LARGE: Final = (
    (4 * _KIB, 2, 256 * _MIB),
    (64 * _KIB, 7, 128 * _MIB),
    (64 * _KIB, 4, _GIB),
    (_MIB, 64, 64 * _MIB),
    (4 * _MIB, 3, _GIB),
)

# What a program without given parameters is tried with, all parameters alike.
_GUESSES: Final = (0, 1, 2, 3, BLOCK, 64 * _KIB, _MIB, 4 * _MIB)

# Steps that the whole ladder may take: about two seconds.  Slower programs climb less far.
_STEPS: Final = 1 << 30


class Ladder(NamedTuple):
    """What came of the ladder: the class of the program, and the figures."""

    geometries: int
    declined: int
    blocks: int
    ns: int
    prefix: bool
    raid0: bool
    params: tuple[int, ...]


def ladder(seeds: Sequence[int], params: tuple[int, ...]) -> Iterator[Geometry]:
    """Yield the geometries of the ladder, small ones first."""
    steps = [
        (unit, nr_strips, unit * rows)
        for unit, nr_strips, rows in product(UNITS, NR_STRIPS, ROWS)
        if unit * nr_strips * rows <= _SWEEP_BLOCKS * BLOCK
    ]
    steps.sort(key=lambda step: step[1] * step[2])
    for unit, nr_strips, strip_length in steps:
        for seed in seeds:
            yield Geometry(unit, nr_strips, strip_length, seed, params)
    for unit, nr_strips, strip_length in _LARGE:
        yield Geometry(unit, nr_strips, strip_length, seeds[-1], params)


def prove(
    program: ParsedProgram, address: int, step_bound: int, params: tuple[int, ...] | None
) -> Ladder:
    """Prove *program* on the ladder.

    Args:
        program: as parsed.
        address: of its compiled ``iomap_begin``.
        step_bound: most steps of one answer.
        params: values of its parameters; None to try some.

    Raises:
        ProgramError: a map of the ladder is no bijection, or all are declined; the geometry
            is named.
    """
    prover = Prover()
    nr_params = len(program.params)
    if params is not None or not nr_params:
        return _climb(prover, program, address, step_bound, params or ())
    first: Exception | None = None
    for guess in _GUESSES:
        try:
            return _climb(prover, program, address, step_bound, (guess,) * nr_params)
        except ProgramError as error:
            first = first or error
    assert first is not None
    raise first


def _climb(
    prover: Prover,
    program: ParsedProgram,
    address: int,
    step_bound: int,
    params: tuple[int, ...],
) -> Ladder:
    geometries = declined = blocks = ns = 0
    prefix = raid0 = True
    first_declined = ""
    line = program.functions[BEGIN].line
    for geometry in ladder(SEEDS if program.uses_seed else SEEDS[:1], params):
        if (blocks + geometry.nr_blocks) * step_bound > _STEPS:
            break
        found = prover.prove(address, geometry)
        if found.declined:
            declined += 1
            first_declined = first_declined or found.sentence
            continue
        if not found.ok:
            raise refusal(program.file, line, found.sentence)
        prefix = prefix and found.prefix and _grows(prover, address, geometry)
        raid0 = raid0 and found.raid0
        geometries, blocks, ns = geometries + 1, blocks + found.blocks, ns + found.ns
    if not geometries:
        raise refusal(program.file, line, first_declined)
    # A geometry that was declined is not known to be raid0, nor to be trimmed like it.
    whole = not declined
    return Ladder(geometries, declined, blocks, ns, prefix and whole, raid0 and whole, params)


def _grows(prover: Prover, address: int, geometry: Geometry) -> bool:
    if geometry.nr_blocks > _SWEEP_BLOCKS:
        return True  # seen on small ones, and the proof of each extent says it for that extent
    return prover.grows_in_place(address, geometry)
