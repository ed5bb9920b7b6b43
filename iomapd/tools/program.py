# SPDX-License-Identifier: MIT
"""Look at mapping programs: list, examine, translate, ask and time them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from iomapd.abi import HANDLED
from iomapd.abi.program import CTX_IN, CTX_OUT, CTX_SIZE, CTX_WORDS, NR_WORDS
from iomapd.abi.shipped import shipped_dir
from iomapd.abi.units import BLOCK
from iomapd.errors import ProgramError, UsageError
from iomapd.jit.admission import Admission, Examination, Geometry, admit, examine, load_program
from iomapd.jit.admission.interpret import interpret
from iomapd.jit.admission.parse import parse_program
from iomapd.jit.admission.proving import fault_of
from iomapd.jit.unit import load_unit
from iomapd.mapping import cost
from iomapd.native.region import Region
from iomapd.tools.program_bpf import time_in_kernel
from iomapd.volume.program_source import ProgramSource, bind_params, read_program

if TYPE_CHECKING:
    from iomapd.jit.admission.admit import Progress

ROUNDS: Final = 7
_WARM_UP: Final = 1 << 12
_COMPILED: Final = 1 << 20
_INTERPRETED: Final = 1 << 10


@dataclass(frozen=True, slots=True)
class Listing:
    """A program that comes with iomapd.

    Attributes:
        name: what a layout calls it.
        path: its file.
        summary: the first line of its docstring.
        params: names of its parameters.
        refusal: why it does not parse; empty when it does.
    """

    name: str
    path: str
    summary: str
    params: tuple[str, ...]
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """One mapping, asked by hand.

    Attributes:
        program: its name.
        given: the fields of ctx that were set, by name.
        status: what it returned; `HANDLED` is 1.
        answers: strip, addr and length, as it left them.
        fault: which rule the answer breaks; empty for a good one.
        hints: what the program left for the cache of mappings, unchecked, by name.
    """

    program: str
    given: dict[str, int]
    status: int
    answers: dict[str, int]
    fault: str
    hints: dict[str, int]


@dataclass(frozen=True, slots=True)
class Cost:
    """Nanoseconds per mapping over some rounds."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class CostReport:
    """What one mapping costs in several ways, in the same run.

    Attributes:
        program: its name.
        geometry: the extent that was walked.
        compiled: the program, called by pointer from a compiled loop.
        formula: the raid0 formula written into the same loop.
        interpreted: the program in admission's interpreter.
        in_kernel: the program as BPF, called in the kernel; None where *why_not* says why.
        why_not: why it was not timed in the kernel.
    """

    program: str
    geometry: str
    compiled: Cost
    formula: Cost
    interpreted: Cost
    in_kernel: Cost | None = None
    why_not: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the body of ``iomapd program bench --json``."""
        return {"schema": "iomapd.program.bench", "version": 1, **asdict(self)}


def open_source(program: str) -> ProgramSource:
    """Read the program that *program* means: a shipped name, or a path.

    Raises:
        ProgramError: it is not there, too large, or not UTF-8.
    """
    return read_program(program, Path(), shipped_dir("programs"))


def list_programs() -> list[Listing]:
    """List the programs that come with iomapd, by name."""
    listings = []
    for path in sorted(shipped_dir("programs").glob("*.py")):
        try:
            source = open_source(path.stem)
            parsed = parse_program(source.name, source.text, str(path))
        except ProgramError as error:
            listings.append(Listing(path.stem, str(path), "", (), str(error)))
            continue
        summary = parsed.doc.strip().partition("\n")[0]
        listings.append(Listing(path.stem, str(path), summary, parsed.params))
    return listings


def check_program(
    program: str, given: Mapping[str, int], progress: Progress | None = None
) -> Admission:
    """Examine a program in the limited child.

    Args:
        program: a shipped name, or a path.
        given: values of its parameters; empty to let admission try some.
        progress: told of every stage that begins.

    Raises:
        ProgramError: it cannot be read, or has no such parameters.  A refusal is no error.
    """
    source = open_source(program)
    params = bind_params(source, given, "--param") if given else None
    return admit(source.name, source.text, str(source.path), params=params, progress=progress)


def translate_program(program: str, progress: Progress | None = None) -> Examination:
    """Examine a program and return what it becomes: IR, assembly and BPF.

    Raises:
        ProgramError: it cannot be read, or is refused before it is compiled.
    """
    source = open_source(program)
    found = examine(source.name, source.text, str(source.path), listings=True, progress=progress)
    if not found.ir:
        found.admission.require()
    return found


def geometry_of(
    program: str, unit: int, nr_strips: int, strip_length: int, seed: int, given: Mapping[str, int]
) -> Geometry:
    """Make the extent that a program is to be asked about; sizes in bytes.

    Raises:
        ProgramError: the program cannot be read, or takes other parameters.
        UsageError: the values are no geometry of an extent.
    """
    params = bind_params(open_source(program), given, "--param")
    try:
        return Geometry(unit, nr_strips, strip_length, seed, params)
    except ValueError:
        raise UsageError(
            f"unit {unit}, {nr_strips} strips of {strip_length} bytes: unit and strip length are "
            f"positive multiples of {BLOCK}, and all strips together fit a file"
        ) from None


def ask_program(program: str, geometry: Geometry, pos: int) -> Answer:
    """Ask a program for one mapping, in the interpreter; it need not be admitted.

    Args:
        program: a shipped name, or a path.
        geometry: the extent.
        pos: position in the extent, bytes; a multiple of `BLOCK`.

    Raises:
        ProgramError: it cannot be read, or parse refuses it.
        UsageError: *pos* is not a block of the extent.
    """
    source = open_source(program)
    parsed = parse_program(source.name, source.text, str(source.path))
    if pos % BLOCK or not 0 <= pos < geometry.length:
        raise UsageError(
            f"--pos {pos}: must be a multiple of {BLOCK} below {geometry.length}, the extent's end"
        )
    words = _record(geometry, pos)
    given = {name: words[i] for i, name in enumerate(CTX_WORDS) if name in CTX_IN}
    status = interpret(parsed)(words)
    answers = {name: words[i] for i, name in enumerate(CTX_WORDS) if name in CTX_OUT}
    fault = fault_of(status, geometry, pos, answers)
    for index, name in enumerate(parsed.params):
        given[name] = given.pop(f"p{index}")
    # What the program does not name does not exist for it.
    given = {name: value for name, value in given.items() if not _is_unnamed(name)}
    hints = {name: words[i] for i, name in enumerate(CTX_WORDS) if name in parsed.hints}
    return Answer(source.name, given, status, answers, fault, hints)


def time_program(
    program: str, geometry: Geometry, progress: Callable[[str, int, int], None]
) -> CostReport:
    """Time a program beside the plain formula; refused programs are not run.

    Args:
        program: a shipped name, or a path.
        geometry: the extent whose blocks are asked for, one after the other.
        progress: called with what is timed, how far, and how far in all.

    Raises:
        ProgramError: it cannot be read, or is refused.
    """
    source = open_source(program)
    file = str(source.path)
    loaded = load_program(source.name, source.text, file, params=geometry.params or None)
    walk_program, walk_formula = _walks()
    ctx = Region(CTX_SIZE)
    geometry.fill(ctx.addr)
    walk_interpreted = _interpreted_walk(source, geometry)
    walks: dict[str, tuple[Callable[[int], object], int]] = {
        "formula": (lambda rounds: walk_formula(ctx.addr, rounds), _COMPILED),
        "compiled": (lambda rounds: walk_program(loaded.address, ctx.addr, rounds), _COMPILED),
        "interpreted": (walk_interpreted, _INTERPRETED),
    }
    found: dict[str, list[float]] = {name: [] for name in walks}
    for walk, rounds in walks.values():
        walk(min(_WARM_UP, rounds))
    # Side by side in every round, so that all meet the machine in the same mood.
    for turn in range(ROUNDS):
        for name, (walk, rounds) in walks.items():
            progress(f"timing {name}", turn, ROUNDS)
            start = time.perf_counter_ns()
            walk(rounds)
            found[name].append((time.perf_counter_ns() - start) / rounds)
    costs = {name: _cost(ns) for name, ns in found.items()}
    progress("timing the kernel", ROUNDS, ROUNDS)
    examined = examine(source.name, source.text, file, params=geometry.params, listings=True)
    turns, reason = time_in_kernel(examined, geometry)
    in_kernel = _cost(turns) if turns else None
    return CostReport(source.name, str(geometry), **costs, in_kernel=in_kernel, why_not=reason)


def _cost(ns: list[float]) -> Cost:
    return Cost(median(ns), min(ns), max(ns))


def _walks() -> tuple[Callable[..., int], Callable[..., int]]:
    unit = load_unit("cost", (cost.walk_program, cost.walk_formula))
    return unit.function("walk_program"), unit.function("walk_formula")


def _interpreted_walk(source: ProgramSource, geometry: Geometry) -> Callable[[int], object]:
    begin = interpret(parse_program(source.name, source.text, str(source.path)))

    def walk(rounds: int) -> None:
        for turn in range(rounds):
            begin(_record(geometry, turn % geometry.nr_blocks * BLOCK))

    return walk


def _record(geometry: Geometry, pos: int) -> list[int]:
    words = [pos, geometry.length - pos, geometry.unit, geometry.nr_strips]
    words += [geometry.strip_length, geometry.seed, *geometry.params]
    return words + [0] * (NR_WORDS - len(words))


def _is_unnamed(name: str) -> bool:
    return name[0] == "p" and name[1:].isdigit()


assert HANDLED == 1  # what `Answer.status` promises
