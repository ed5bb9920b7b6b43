# SPDX-License-Identifier: MIT
"""Layout policy of directories and empty files: get, set, and the virtual xattr.

Directories hand their layout to what is made in them; changing one changes new
files only.  A file's own layout can change while it has no extents.  The text
form, in ``user.iomapd.layout`` and on the command line, is ``key=value`` words:

    unit=65536 width=0 strip_min=1048576 strip_max=1073741824 program=raid0
"""

from __future__ import annotations

import errno
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import trio

from iomapd.abi.units import BLOCK
from iomapd.control.core import now_ns
from iomapd.control.slowpath import FILE_END
from iomapd.errors import ProgramError, UsageError
from iomapd.geometry.ranges import round_up
from iomapd.geometry.sizes import parse_size
from iomapd.volume.program_source import ProgramSource, bind_params, param_names

if TYPE_CHECKING:
    from iomapd.cache.inode import Inode
    from iomapd.control.core import Core
    from iomapd.jit.admission.load import LoadedProgram
    from iomapd.meta.records import LayoutRecord

XATTR: Final = b"user.iomapd.layout"
UNIT_MAX: Final = 1 << 30
_SIZES: Final = ("unit", "strip_min", "strip_max")


class LayoutKeeper:
    """Reads and changes the layout row that an inode names."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._programs = core.programs

    def describe(self, inode: Inode) -> dict[str, Any]:
        """Return the layout as ``layout get --json`` shows it; sizes in bytes."""
        row = self._core.layouts[inode.layout]
        program = self._programs.rows[row.program]
        parent = self._core.store.names.parent_of(inode.ino)
        inherited = parent is not None and self._core.inode(parent).layout == inode.layout
        return {
            "layout_id": row.id,
            "unit": row.unit,
            "width": row.width,
            "strip_min": row.strip_min,
            "strip_max": row.strip_max,
            "program": program.name,
            "sha256": program.sha256,
            "params": self._params_of(row),
            "inherited": inherited,
        }

    def _params_of(self, row: LayoutRecord) -> dict[str, int]:
        names = param_names(self._source(row.program))
        return dict(zip(names, row.params, strict=False))

    def _source(self, number: int) -> ProgramSource:
        program = self._programs.rows[number]
        return ProgramSource(program.name, program.source, Path(program.name))

    def text(self, inode: Inode) -> bytes:
        """Return the layout as ``key=value`` words."""
        row = self._core.layouts[inode.layout]
        words = {
            "unit": row.unit,
            "width": row.width,
            "strip_min": row.strip_min,
            "strip_max": row.strip_max,
            "program": self._programs.rows[row.program].name,
            **self._params_of(row),
        }
        return " ".join(f"{key}={value}" for key, value in words.items()).encode()

    async def set_text(self, inode: Inode, text: bytes) -> None:
        """Change the layout from ``key=value`` words; EINVAL names the word."""
        changes: dict[str, Any] = {}
        for word in text.decode("utf-8", "replace").split():
            key, equals, value = word.partition("=")
            if not equals:
                raise UsageError(f"layout: {word!r} is not key=value")
            changes[key] = value
        await self.set(inode, **changes)

    async def set(
        self, inode: Inode, *, program: str | None = None, source: str | None = None, **changes: Any
    ) -> None:
        """Give *inode* another layout: for new extents of new files.

        Args:
            inode: a directory, or a file without extents.
            program: a name: shipped, or known to the volume; or a new one's, with *source*.
            source: the text of a program of the user's own.
            changes: unit (bytes or "64KiB"), width (strips; 0 = all members),
                strip_min, strip_max, ``params`` or the program's parameters by name.

        Raises:
            UsageError: a value breaks a rule, or the program refuses the geometry.
            OSError: the file has extents.
        """
        self._check_target(inode)
        row = self._core.layouts[inode.layout]
        try:
            wanted = self._source(row.program)
            params = self._params_of(row)
            if program is not None:
                wanted, params = self._programs.find(program, source), {}
            row = self._changed(row, params, changes)
            row = checked(replace(row, params=bind_params(wanted, params, "layout")))
            loaded = await trio.to_thread.run_sync(self._programs.admit, wanted, row)
        except ProgramError as exc:
            # What is wrong is the user's word, not a program of the volume.
            raise UsageError(str(exc)) from None
        self._check_target(inode)  # a write may have come meanwhile
        self._check_geometry(loaded, row)
        with self._core.operation() as op:
            row = replace(row, id=0, program=self._programs.add(wanted, op))
            number = self._core.store.layout_id(row)
            op.change(inode, layout=number, ctime_ns=now_ns())
        self._core.layouts.setdefault(number, replace(row, id=number))

    def _check_target(self, inode: Inode) -> None:
        if not stat.S_ISDIR(inode.mode):
            if not stat.S_ISREG(inode.mode):
                raise OSError(errno.EINVAL, "only directories and files have a layout")
            if self._core.store.space.extents(inode.ino, 0, FILE_END, 1):
                raise OSError(
                    errno.EBUSY,
                    "the file has extents; set the layout of its directory, then move it there: "
                    "iomapd migrate FILE",
                )

    def _check_geometry(self, loaded: LoadedProgram, row: LayoutRecord) -> None:
        """Prove the program on a full extent of the layout, before any file depends on it."""
        width = row.width or len(self._core.members)
        if width == 1:
            return
        proof = self._programs.try_out(loaded, row, width)
        if not proof.ok:
            raise UsageError(f"layout: program cannot serve {width} strips: {proof.sentence}")

    def _changed(
        self, row: LayoutRecord, params: dict[str, int], changes: dict[str, Any]
    ) -> LayoutRecord:
        """Return *row* with *changes*; those of parameters go into *params*."""
        for key, value in changes.items():
            if value is None:
                continue
            if key in _SIZES:
                sizes: dict[str, Any] = {key: parse_size(value, key)}
                row = replace(row, **sizes)
            elif key == "width":
                row = replace(row, width=self._width(value))
            elif key == "params":
                params |= value
            else:
                params[key] = _integer(key, value)
        return row

    def _width(self, value: Any) -> int:
        width = _integer("width", value)
        if not 0 <= width <= len(self._core.members):
            raise UsageError(
                f"layout: width {width} is not in 0..{len(self._core.members)} (0 = all members)"
            )
        return width


def _integer(key: str, value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise UsageError(f"layout: {key} {value!r} is not an integer") from None


def checked(row: LayoutRecord) -> LayoutRecord:
    """Return *row* with strip bounds rounded up to its unit.

    Raises:
        UsageError: the unit or the bounds break a rule.
    """
    if row.unit < BLOCK or row.unit % BLOCK or row.unit > UNIT_MAX:
        raise UsageError(
            f"layout: unit {row.unit} is not a multiple of {BLOCK} between {BLOCK} and {UNIT_MAX}"
        )
    low, high = round_up(row.strip_min, row.unit), round_up(row.strip_max, row.unit)
    if not 0 < low <= high:
        raise UsageError(f"layout: strip_min {low} is not in 1..strip_max {high}")
    return replace(row, strip_min=low, strip_max=high)
