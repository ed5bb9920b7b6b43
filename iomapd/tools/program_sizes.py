# SPDX-License-Identifier: MIT
"""What the proof of a program costs for files of some sizes: time, and memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from iomapd.jit.admission import Geometry, Prover, load_program
from iomapd.tools.program import open_source
from iomapd.volume.program_source import bind_params

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_GIB: Final = 1 << 30
SIZES: Final = (_GIB, 100 * _GIB, 1024 * _GIB)

_UNIT: Final = 64 << 10
_NR_STRIPS: Final = 4
_SEED: Final = 12345

# A size that would take longer than this is calculated from the one before.
PATIENCE_NS: Final = 30 * 10**9


@dataclass(frozen=True, slots=True)
class SizeCost:
    """The proof of one extent that holds a whole file.

    Attributes:
        size: of the file, bytes.
        blocks: that are asked for.
        ns: nanoseconds of processor time.
        memory: bytes of the bitmap, one bit per block.
        measured: it was done; otherwise *ns* is the time per block of the size before.
        sentence: why the map is none; empty when it is proved.
    """

    size: int
    blocks: int
    ns: int
    memory: int
    measured: bool
    sentence: str = ""


def time_proofs(
    program: str, given: Mapping[str, int], progress: Callable[[str], None] | None = None
) -> list[SizeCost]:
    """Prove the maps of extents of 1 GiB, 100 GiB and 1 TiB: 64 KiB by four strips.

    Args:
        program: a shipped name, or a path; it is accepted.
        given: values of its parameters; without them 1 is tried for each.
        progress: told of every size that begins.

    Raises:
        ProgramError: it cannot be read, is refused, or has no such parameters.
    """
    source = open_source(program)
    params = bind_params(source, given, "--param") if given else None
    loaded = load_program(source.name, source.text, str(source.path), params=params)
    params = params if params is not None else (1,) * len(loaded.admission.params)
    prover = Prover()
    costs: list[SizeCost] = []
    for size in SIZES:
        geometry = Geometry(_UNIT, _NR_STRIPS, size // _NR_STRIPS, _SEED, tuple(params))
        memory = geometry.nr_blocks // 8
        expected = costs[-1].ns * geometry.nr_blocks // costs[-1].blocks if costs else 0
        if expected > PATIENCE_NS:
            costs.append(SizeCost(size, geometry.nr_blocks, expected, memory, measured=False))
            continue
        if progress:
            progress(f"proof of {size >> 30} GiB")
        proof = prover.prove(loaded.address, geometry)
        blocks = geometry.nr_blocks
        costs.append(SizeCost(size, blocks, proof.ns, memory, True, proof.sentence))
        if not proof.ok:
            break
    return costs
