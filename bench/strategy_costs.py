# SPDX-License-Identifier: MIT
"""What a mapping costs by itself: the four strategies, shifts, and BPF in the kernel, turn by turn.

No mount and no data: the loops of `bench.mapping_cost`, and `iomapd.jit.bpf.timing` for the
kernel's execution of the same program.  "upcall" is the slow path alone, without the way from a
lane to the control plane and back, which the mounted runs show.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.mapping_cost import FILE_SIZE, NR_STRIPS, Volume, lane_work, mapper_work
from iomapd.jit.admission import Geometry
from iomapd.tools.program import translate_program
from iomapd.tools.program_bpf import time_in_kernel

PROGRAM: Final = "raid0"
WAYS: Final = ("shift", "call", "record", "program", "bpf", "cache", "upcall")
"""Who answers; `shift` is the least that anybody computes, `call` the same behind a pointer."""

Cost = dict[str, Any]
Work = Callable[[], int]


def costs(place: Path, units: tuple[int, ...], rounds: int, seconds: float) -> list[Cost]:
    """Measure a mapping of `PROGRAM`, all ways and all *units*.

    Args:
        place: an existing directory, for a store.
        units: stripe units, bytes.
        rounds: of each.
        seconds: of each measurement; CPU time of this thread.

    Returns:
        A line per way and unit: ``way``, ``unit``, ``ns`` (a figure per round).
    """
    volume = Volume(place, PROGRAM)
    try:
        loops = {unit: dict(_loops(volume, unit)) for unit in units}
        found = {(unit, way): [] for unit, work in loops.items() for way in work}
        for _ in range(rounds):
            for unit, work in loops.items():
                for way, loop in work.items():
                    found[unit, way].append(_ns_per_mapping(loop, seconds))
    finally:
        volume.store.close()
    lines = [{"way": way, "unit": unit, "ns": ns} for (unit, way), ns in found.items()]
    return [*lines, *_in_kernel(units, rounds)]


def _loops(volume: Volume, unit: int) -> Iterator[tuple[str, Work]]:
    yield from lane_work(volume, unit).items()
    yield "upcall", mapper_work(volume, "compiled", unit)["upcall"]


def _in_kernel(units: tuple[int, ...], rounds: int) -> Iterator[Cost]:
    """Yield BPF's lines; nothing but the reason where the kernel cannot be asked."""
    examined = translate_program(PROGRAM)
    found: dict[int, list[float]] = {unit: [] for unit in units}
    for _, unit in product(range(rounds), units):
        # As many rows as there are in the file, one at least.
        strip = max(FILE_SIZE // NR_STRIPS, unit)
        turns, reason = time_in_kernel(examined, Geometry(unit, NR_STRIPS, strip))
        if not turns:
            yield {"way": "bpf", "skipped": reason}
            return
        found[unit].append(median(turns))
    for unit, ns in found.items():
        yield {"way": "bpf", "unit": unit, "ns": ns}


def _ns_per_mapping(work: Work, seconds: float) -> float:
    work()  # warms the processor's caches
    nr_mappings, start = 0, time.thread_time_ns()
    while True:
        nr_mappings += work()
        spent = time.thread_time_ns() - start
        if spent >= seconds * 1e9:
            return spent / nr_mappings
