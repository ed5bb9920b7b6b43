# SPDX-License-Identifier: MIT
"""The source text of a mapping program, as it goes into the store.

Read as data: nothing is imported or run here.  Whether the program is safe is
for admission to say; here it is text of a bounded size, and its ``PARAMS`` names
the integers that ``[volume.params]`` gives it.
"""

from __future__ import annotations

import ast
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from iomapd.errors import ProgramError
from iomapd.volume.layout_model import NR_PARAMS_MAX
from iomapd.volume.opening import without_waiting

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCE_MAX: Final = 64 << 10
"""Largest program, bytes."""


@dataclass(frozen=True, slots=True)
class ProgramSource:
    """A program's *name*, *text*, and where it came from."""

    name: str
    text: str
    path: Path

    @property
    def sha256(self) -> str:
        """SHA-256 of the UTF-8 text, in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def program_path(program: str, base: Path, shipped: Path) -> Path:
    """Return the file that *program* means.

    Args:
        program: a bare name, looked up in *shipped*; or a path, which has a slash
            or ends in ``.py``, relative to *base*.
        base: directory of the layout file.
        shipped: directory of the programs that come with iomapd.
    """
    if "/" in program or program.endswith(".py"):
        return base / program
    return shipped / f"{program}.py"


def read_program(program: str, base: Path, shipped: Path) -> ProgramSource:
    """Read the source of *program*; arguments as for `program_path`.

    Raises:
        ProgramError: it is not there, too large, or not UTF-8.
    """
    path = program_path(program, base, shipped)
    try:
        with open(path, "rb", opener=without_waiting) as file:
            raw = file.read(SOURCE_MAX + 1)
    except FileNotFoundError:
        known = ", ".join(sorted(p.stem for p in shipped.glob("*.py"))) or "none"
        raise ProgramError(f'program "{program}": no {path}; shipped programs: {known}') from None
    except OSError as exc:
        raise ProgramError(f'program "{program}": {path}: {exc.strerror}') from None
    if len(raw) > SOURCE_MAX:
        raise ProgramError(f"{path}: a program has at most {SOURCE_MAX} bytes")
    try:
        text = raw.decode()
    except UnicodeDecodeError as exc:
        raise ProgramError(f"{path}: byte {exc.start} is not UTF-8; programs are") from None
    return ProgramSource(path.stem, text, path)


def bind_params(program: ProgramSource, given: Mapping[str, int], place: str) -> tuple[int, ...]:
    """Put the given parameters in the order in which the program names them.

    Args:
        program: its top-level ``PARAMS = ("name", ...)`` says which it takes.
        given: values by name.
        place: where *given* was written, for messages.

    Returns:
        `NR_PARAMS_MAX` integers, unused ones 0.

    Raises:
        ProgramError: PARAMS is malformed, or names and values do not match.
    """
    names = param_names(program)
    for name in given:
        if name not in names:
            takes = ", ".join(names) or "no parameters"
            raise ProgramError(
                f'{place}: parameter "{name}" = {given[name]}: program {program.name} takes {takes}'
            )
    for name in names:
        if name not in given:
            raise ProgramError(f'{place}: program {program.name} needs parameter "{name}"')
    values = tuple(given[name] for name in names)
    return values + (0,) * (NR_PARAMS_MAX - len(values))


def param_names(program: ProgramSource) -> tuple[str, ...]:
    """Return the names that the program's ``PARAMS`` lists, in their order.

    Raises:
        ProgramError: the source is not Python, or PARAMS is malformed.
    """
    try:
        tree = ast.parse(program.text)
    except (SyntaxError, ValueError) as exc:
        line = getattr(exc, "lineno", None) or 1
        raise ProgramError(f"{program.path}:{line}: not Python: {exc.args[0]}") from None
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "PARAMS" for target in node.targets
        ):
            return _names_in(node, program.path)
    return ()


def _names_in(node: ast.Assign, path: Path) -> tuple[str, ...]:
    try:
        names = tuple(ast.literal_eval(node.value))
    except (ValueError, TypeError):
        names = (None,)
    good = all(isinstance(name, str) and name.isidentifier() for name in names)
    if not good or len(names) > NR_PARAMS_MAX or len(set(names)) != len(names):
        raise ProgramError(
            f"{path}:{node.lineno}: PARAMS is a tuple of at most {NR_PARAMS_MAX} different names"
        )
    return names
