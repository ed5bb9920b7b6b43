# SPDX-License-Identifier: MIT
"""The layout file: the one thing a user writes.

    [volume]
    name = "scratch"
    unit = "64KiB"              # multiple of 4 KiB
    program = "raid0"           # a name from programs/, or a path
    metadata = "scratch.db"     # default: this file's name with .db; sqlite:///PATH is accepted
    [volume.params]             # integers for the program
    [io]
    mode = "auto"               # auto | mapped | buffered | direct
    [[member]]
    path = "/dev/loop0"
    [[member]]
    path = "m1.img"
    size = "4GiB"               # image files are made and allocated (sparse = true: not)

Relative paths are relative to the file.  Every error is one line: file and line
where it can be had, key, value, rule.
"""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from iomapd.errors import LayoutFileError
from iomapd.geometry.sizes import format_size, parse_size
from iomapd.volume.layout_model import IoMode, LayoutTables, broken_rule, shown
from iomapd.volume.opening import without_waiting
from iomapd.volume.search import peek
from iomapd.volume.toml_lines import Key, key_lines, line_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SIZE_MAX: Final = 1 << 20
"""Largest layout file that is read, bytes: a member given by mistake is no text."""

_LINE: Final = re.compile(r" \(at line (\d+), column \d+\)$")


@dataclass(frozen=True, slots=True)
class MemberSpec:
    """A ``[[member]]``: *size* in bytes, None for what exists; *sparse* files are not allocated."""

    path: Path
    size: int | None = None
    sparse: bool = False


@dataclass(frozen=True, slots=True)
class LayoutFile:
    """A layout file that obeys every rule that can be checked without looking at members.

    Attributes:
        path: the file.
        name: of the volume.
        unit: stripe unit, bytes.
        program: a name, or a path as written.
        params: integers for the program, by name.
        metadata: the metadata store.
        io_mode: auto, mapped, buffered or direct.
        members: in index order.
        lines: where keys stand in the file.
    """

    path: Path
    name: str
    unit: int
    program: str
    params: Mapping[str, int]
    metadata: Path
    io_mode: IoMode
    members: tuple[MemberSpec, ...]
    lines: dict[Key, int] = field(default_factory=dict, compare=False, repr=False)

    def place(self, *key: str | int) -> str:
        """Return ``FILE:LINE`` of *key* for a message, or ``FILE``."""
        line = line_of(self.lines, key)
        return f"{self.path}:{line}" if line else f"{self.path}"


def load_layout(path: Path) -> LayoutFile:
    """Read a layout file.

    Raises:
        LayoutFileError: one line naming file, line, key, value and rule.
    """
    try:
        with open(path, "rb", opener=without_waiting) as file:
            raw = file.read(SIZE_MAX + 1)
    except OSError as exc:
        raise LayoutFileError(f"{path}: layout file: {exc.strerror}") from None
    if len(raw) > SIZE_MAX:
        raise LayoutFileError(f"{path}: is larger than {SIZE_MAX} bytes: not a layout file")
    try:
        text = raw.decode()
    except UnicodeDecodeError as exc:
        raise LayoutFileError(
            f"{path}: byte {exc.start} is not UTF-8: not a layout file (TOML)"
        ) from None
    return parse_layout(text, path)


def parse_layout(text: str, path: Path) -> LayoutFile:
    """Read the text of a layout file that lies, or will lie, at *path*.

    Raises:
        LayoutFileError: as `load_layout`.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        line = _LINE.search(str(exc))
        place = f"{path}:{line[1]}" if line else f"{path}"
        raise LayoutFileError(f"{place}: not TOML: {_LINE.sub('', str(exc))}") from None
    lines = key_lines(text)
    try:
        tables = LayoutTables.model_validate(values)
    except ValidationError as exc:
        raise LayoutFileError(_first_fault(exc, path, lines)) from None
    layout = _resolve(tables, path, lines)
    _refuse_same_paths(layout, tables)
    return layout


def render_layout(
    *,
    name: str,
    unit: str,
    members: Sequence[MemberSpec],
    program: str = "raid0",
    params: Mapping[str, int] | None = None,
) -> str:
    """Write the text of a layout file; *unit* stays as the user wrote it.

    Raises:
        LayoutFileError: a path is not UTF-8, which a TOML file must be.
    """
    lines = ["[volume]", f"name = {_quoted(name)}", f"unit = {_quoted(unit)}"]
    lines.append(f"program = {_quoted(program)}")
    if params:
        lines.append("[volume.params]")
        lines.extend(f"{_quoted(key)} = {value}" for key, value in params.items())
    for member in members:
        lines.extend(["", "[[member]]", f"path = {_quoted(str(member.path))}"])
        if member.size is not None:
            lines.append(f"size = {_size_text(member.size)}")
        if member.sparse:
            lines.append("sparse = true")
    return "\n".join(lines) + "\n"


def find_layout_or_member(source: Path) -> LayoutFile:
    """Read the layout file that *source* is, or that lists the member that *source* is.

    A superblock holds no paths, so a member's layout file is looked for among the
    ``*.toml`` files beside the member and in the current directory.

    Raises:
        LayoutFileError: *source* is neither, or no layout file lists it.
    """
    # A name that ends so is meant as a layout file, whatever is in it.
    if source.suffix == ".toml":
        return load_layout(source)
    superblock = peek(source.resolve())
    if superblock is None:
        try:
            return load_layout(source)
        except LayoutFileError as exc:
            if source.is_dir():
                raise LayoutFileError(
                    f"{source}: is a directory, and no volume is mounted there; a volume that is "
                    "not mounted is named by its layout file or a member"
                ) from None
            raise LayoutFileError(f"{exc}; nor is it a member with a whole superblock") from None
    directories = dict.fromkeys([source.absolute().parent, source.resolve().parent, Path.cwd()])
    for directory in directories:
        for path in sorted(directory.glob("*.toml")):
            try:
                layout = load_layout(path)
            except LayoutFileError:
                continue  # somebody else's TOML
            if any(_is_same(spec.path, source) for spec in layout.members):
                return layout
    raise LayoutFileError(
        f"{source}: a member of volume {superblock.volume}, but no *.toml beside it or in the "
        "current directory lists it: name the layout file"
    )


def _first_fault(error: ValidationError, path: Path, lines: dict[Key, int]) -> str:
    """One line about the fault that stands first in the file; what is missing stands nowhere.

    So of a misspelt key its own name is told, not that the right one is missing.
    """
    faults: list[Any] = error.errors(include_url=False)
    fault = min(faults, key=lambda f: (f["type"] == "missing", line_of(lines, f["loc"]) or 0))
    line = line_of(lines, fault["loc"])
    place = f"{path}:{line}" if line else f"{path}"
    # Of dictionary keys pydantic says "[key]"; no reader needs to know.
    key = ".".join(str(part) for part in fault["loc"] if part != "[key]")
    if fault["type"] == "missing":
        return f"{place}: {key} is missing: every layout file must have it"
    return f"{place}: {key} = {shown(fault['input'])}: {broken_rule(fault)}"


def _resolve(tables: LayoutTables, path: Path, lines: dict[Key, int]) -> LayoutFile:
    """Make paths absolute; links are left for those who open the files."""
    directory = path.absolute().parent
    volume = tables.volume
    return LayoutFile(
        path=path,
        name=volume.name,
        unit=volume.unit,
        program=volume.program,
        params=volume.params,
        metadata=directory / (volume.metadata or f"{path.stem}.db"),
        io_mode=tables.io.mode,
        members=tuple(MemberSpec(directory / m.path, m.size, m.sparse) for m in tables.member),
        lines=lines,
    )


def _refuse_same_paths(layout: LayoutFile, tables: LayoutTables) -> None:
    taken = {os.path.realpath(layout.path): "the layout file itself"}
    taken[os.path.realpath(layout.metadata)] = "the metadata store"
    for index, member in enumerate(layout.members):
        real = os.path.realpath(member.path)
        if real in taken:
            written = shown(tables.member[index].path)
            place = layout.place("member", index, "path")
            raise LayoutFileError(
                f"{place}: member.{index}.path = {written}: is {taken[real]} already"
            )
        taken[real] = f"member.{index}"


def _is_same(one: Path, two: Path) -> bool:
    try:
        return one.samefile(two)
    except OSError:
        return False


def _size_text(nbytes: int) -> str:
    """Write a size as people do where that is exact."""
    text = format_size(nbytes)
    return str(nbytes) if "." in text or parse_size(text) != nbytes else f'"{text}"'


def _quoted(text: str) -> str:
    """Write a TOML basic string."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise LayoutFileError(f"{text!r}: not UTF-8, which layout files are: rename it") from None
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'
