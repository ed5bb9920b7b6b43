# SPDX-License-Identifier: MIT
"""A unit: functions compiled together, kept as one object file, called through ctypes."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

from iomapd.jit import cache, machine
from iomapd.jit.sources import CompileError, unit_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


class Unit:
    """Compiled functions of one object file; keep it as long as any of them may run.

    Attributes:
        name: what the unit is called, in file names and messages.
        key: hex SHA-256 of everything the object file depends on.
        compiled: whether this process had to compile it; False on the warm path.
        path: its object file, or None when no directory could be used.
    """

    def __init__(
        self, name: str, key: str, data: bytes, entries: Sequence[Callable[..., int]],
        *, compiled: bool, path: Path | None,
    ) -> None:  # fmt: skip
        self.name = name
        self.key = key
        self.compiled = compiled
        self.path = path
        self._engine = machine.load_object(data)
        self._entries = {entry.__name__: _nr_arguments(entry) for entry in entries}

    def address(self, name: str) -> int:
        """Return the address of the entry *name*, for compiled code that calls by pointer.

        Raises:
            KeyError: the unit has no such entry.
        """
        self._entries[name]
        return int(self._engine.get_function_address(name))

    def function(self, name: str) -> Callable[..., int]:
        """Return the entry *name* as a Python callable that gives up the interpreter lock.

        Arguments and result are 64-bit signed integers.

        Raises:
            KeyError: the unit has no such entry.
        """
        kind = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * self._entries[name])
        function: Any = kind(self.address(name))
        function.unit = self  # the code lives as long as the callable does
        return function  # type: ignore[no-any-return]


def load_unit(
    name: str, entries: Sequence[Callable[..., int]], directory: Path | None = None
) -> Unit:
    """Compile *entries* together, or load what an earlier process compiled.

    Every entry takes and returns int64; so do all functions it reaches.  Entries and callees
    stay plain Python: the same functions run in the interpreter as their own oracle.

    Args:
        name: of the unit; letters, digits and dashes.
        entries: plain functions with distinct names and positional arguments only.
        directory: where object files are kept; by default that of the effective user.

    Raises:
        CompileError: a function breaks a rule of the compiled rooms, or does not compile.
    """
    if len({entry.__name__ for entry in entries}) != len(entries):
        raise CompileError(f"unit {name}: two entries have the same name")
    key = unit_key(name, entries)
    store = cache.ObjectStore.open(directory)

    def build() -> bytes:
        # numba is imported here and in `load_linked`, and nowhere on the warm path.
        from iomapd.jit.build import build_object

        return build_object(name, entries)

    data, compiled = _kept_or_built(store, name, key, build)
    path = store.path_of(name, key) if store else None
    return Unit(name, key, data, entries, compiled=compiled, path=path)


def load_linked(name: str, entries: Sequence[Callable[..., int]]) -> bytes:
    """Return *entries* as LLVM bitcode, not optimised yet, to be linked with what they lack.

    Args:
        name: what it is kept under; letters, digits and dashes.
        entries: as of `load_unit`.

    Raises:
        CompileError: as `load_unit`.
    """

    def build() -> bytes:
        from iomapd.jit.build import link_entries

        return bytes(link_entries(name, entries).as_bitcode())

    store = cache.ObjectStore.open()
    return _kept_or_built(store, name, unit_key(name, entries), build)[0]


def _kept_or_built(
    store: cache.ObjectStore | None, name: str, key: str, build: Callable[[], bytes]
) -> tuple[bytes, bool]:
    """Return what *store* keeps under *key*, else build and keep it; and whether it was built."""
    data = store.load(name, key) if store else None
    if data is not None:
        return data, False
    data = build()
    if store:
        store.save(name, key, data)
    return data, True


def is_kept(name: str, entries: Sequence[Callable[..., int]]) -> bool:
    """Tell whether `load_unit` would find the object file of an earlier process."""
    store = cache.ObjectStore.open(None)
    return store is not None and store.path_of(name, unit_key(name, entries)).exists()


def _nr_arguments(entry: Callable[..., int]) -> int:
    return int(entry.__code__.co_argcount)
