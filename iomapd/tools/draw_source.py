# SPDX-License-Identifier: MIT
"""What a drawing is asked for: a program by name or file, with its parameters, ready to be walked.

The program runs in the interpreter of admission, which is no part of Python's: it
can do nothing but calculate, so programs that have not been admitted can be drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from iomapd.abi.shipped import shipped_dir
from iomapd.errors import UsageError
from iomapd.jit.admission import Geometry
from iomapd.jit.admission.interpret import interpret
from iomapd.jit.admission.parse import parse_program
from iomapd.tools.draw import CELLS_MAX, walk
from iomapd.tools.program import open_source
from iomapd.volume.program_source import bind_params

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from iomapd.tools.draw import Piece
    from iomapd.volume.program_source import ProgramSource

_INTEGERS: Final = range(-(1 << 63), 1 << 63)


@dataclass(frozen=True, slots=True)
class Extent:
    """The extent to draw, apart from parameters: *rows* units on each of *nr_strips* strips.

    Raises:
        UsageError: there is too much to look at, or the seed is no 64-bit integer.
    """

    unit: int
    nr_strips: int
    rows: int
    seed: int

    def __post_init__(self) -> None:
        if self.rows * self.nr_strips > CELLS_MAX:
            raise UsageError(
                f"{self.rows} rows of {self.nr_strips} units: at most {CELLS_MAX} units are drawn"
            )
        if self.seed not in _INTEGERS:
            raise UsageError(f"--seed {self.seed}: must be a signed 64-bit integer")


@dataclass(frozen=True, slots=True)
class Drawable:
    """A parsed program: its source, the names of its parameters, and ``iomap_begin``."""

    source: ProgramSource
    params: tuple[str, ...]
    begin: Callable[[list[int]], int]

    @property
    def name(self) -> str:
        """What the program is called."""
        return self.source.name

    def geometry(self, extent: Extent, given: Mapping[str, int]) -> Geometry:
        """Return *extent* with this program's parameters, out of those *given*.

        Raises:
            UsageError: the unit is no multiple of 4 KiB, or the extent is too long for a file.
            ProgramError: a parameter is missing, or is not one of this program's.
        """
        values = bind_params(self.source, given, "--param")
        unit = extent.unit
        try:
            return Geometry(unit, extent.nr_strips, unit * extent.rows, extent.seed, values)
        except ValueError:
            raise UsageError(
                f"unit {unit}: must be a positive multiple of 4KiB, and "
                f"{extent.nr_strips} strips of {extent.rows} units no longer than a file can be"
            ) from None

    def walk(self, geometry: Geometry) -> list[Piece]:
        """Return the map of the extent; see `draw.walk`."""
        return walk(self.begin, geometry, self.name)


def is_program(target: str) -> bool:
    """Whether *target* means a program: a ``.py`` file, or the name of a shipped one."""
    return target.endswith(".py") or (shipped_dir("programs") / f"{target}.py").is_file()


def open_program(target: str) -> Drawable:
    """Read and parse the program that *target* means.

    Raises:
        ProgramError: it is not there, or parse refuses it; with file and line.
    """
    source = open_source(target)
    parsed = parse_program(source.name, source.text, str(source.path))
    return Drawable(source, parsed.params, interpret(parsed))


def split_params(
    given: Mapping[str, int], first: Drawable, second: Drawable
) -> tuple[dict[str, int], dict[str, int]]:
    """Give each of two programs the parameters that it knows.

    Raises:
        UsageError: neither knows one of them.
    """
    for name in given:
        if name not in (*first.params, *second.params):
            raise UsageError(
                f"--param {name}={given[name]}: neither {first.name} nor {second.name} takes it"
            )
    mine, yours = (
        {name: value for name, value in given.items() if name in program.params}
        for program in (first, second)
    )
    return mine, yours
