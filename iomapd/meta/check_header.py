# SPDX-License-Identifier: MIT
"""Is a store what its version number says: tables, generations, layouts, programs, ids?

    schema       every table and index is as `schema.TABLES` makes it; nothing else is there
    generations  pending is the settled generation or the next one
    layouts      each obeys its rules and names a program that is there
    programs     each source has the SHA-256 it was stored with, and an ABI known here
    ids          none that was given out will be given out again

A store that fails one of the first three cannot be mounted.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from iomapd.abi import PROGRAM_ABI
from iomapd.abi.units import BLOCK
from iomapd.errors import StoreError
from iomapd.meta.findings import Finding
from iomapd.meta.rows import ID_MAX, shown
from iomapd.meta.schema import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iomapd.meta.records import LayoutRecord, ProgramRecord
    from iomapd.meta.store import Store

T = TypeVar("T")


def refuse_unsound(store: Store) -> None:
    """Refuse a store that cannot be used.

    Raises:
        StoreError: naming the store and its first fault.
    """
    for finding in check_header(store):
        raise StoreError(f"{finding.message}; iomapd fsck shows all that is wrong")


def check_header(store: Store) -> Iterator[Finding]:
    """Check schema, generations and layouts."""
    yield from _check_schema(store)
    if store.pending not in (store.generation, store.generation + 1):
        numbers = f"generation {store.generation}, pending {store.pending}"
        yield Finding("store", f"{store.path}: {numbers}; a mount adds one")
    for fault in sound_layouts(store).faults:
        yield Finding("layouts", f"{store.path}: {fault}")


def check_programs(store: Store) -> Iterator[Finding]:
    """Check that stored programs are the ones that were stored."""
    for fault in sound_programs(store).faults:
        yield Finding("programs", f"{store.path}: {fault}")


@dataclass(slots=True)
class Sound(Generic[T]):
    """Rows that can be used, ids of all there are, and what is wrong with the others."""

    rows: dict[int, T]
    there: set[int]
    faults: list[str]


def sound_programs(store: Store) -> Sound[ProgramRecord]:
    """Return the programs that can be used."""
    broken: dict[int, str] = {}
    rows = dict(store.programs(broken.__setitem__))
    for program in rows.values():
        if source_digest(program.source) != program.sha256:
            rule = f"the source of program {program.name} is not what its SHA-256 says"
            broken[program.id] = rule
        elif program.abi > PROGRAM_ABI:
            rule = f"program {program.name} is of ABI {program.abi}; this iomapd knows"
            broken[program.id] = f"{rule} {PROGRAM_ABI}"
    return _sound(rows, broken)


def sound_layouts(store: Store) -> Sound[LayoutRecord]:
    """Return the layouts that can be used."""
    programs = sound_programs(store)
    broken: dict[int, str] = {}
    rows = dict(store.layouts(broken.__setitem__))
    for row in rows.values():
        rules = list(_broken_rules(row))
        if row.program not in programs.there:
            rules.append(f"names program {row.program}, which is not there")
        if rules:
            broken[row.id] = f"layout {row.id}: {rules[0]}"
    found = _sound(rows, broken)
    if store.root_layout not in found.there:
        rule = f"the root layout names row {store.root_layout}, which is not there"
        found.faults.append(rule)
    return found


def _sound(rows: dict[int, T], broken: dict[int, str]) -> Sound[T]:
    there = rows.keys() | broken.keys()
    good = {number: row for number, row in rows.items() if number not in broken}
    return Sound(good, set(there), list(broken.values()))


def check_ids(store: Store) -> Iterator[Finding]:
    """Check that ids in use, and those of rows left behind, will not be given out again."""
    given = dict(store.rows.all("SELECT name,seq FROM sqlite_sequence"))
    for table, columns in _IDS.items():
        union = " UNION ALL ".join(f"SELECT max({c}) FROM {t}" for t, c in columns)
        used = [row[0] for row in store.rows.all(union) if isinstance(row[0], int)]
        last = given.get(table, 0)
        if not isinstance(last, int) or last > ID_MAX:
            yield Finding("ids", f"{store.path}: the last id of table {table} is {shown(last)}")
        elif max(used, default=0) > last:
            rule = f"id {max(used)} of table {table} is in use, and {last} counts as the last one"
            yield Finding("ids", f"{store.path}: {rule}: a new row could get it again")


_IDS = {
    "inode": (("inode", "ino"), ("dirent", "ino"), ("extent", "ino"), ("content", "ino")),
    "dirent": (("dirent", "cookie"),),
    "member": (("member", "id"),),
    "program": (("program", "id"),),
    "layout": (("layout", "id"),),
}


def source_digest(source: str) -> str:
    """Return the hex SHA-256 of a program's text."""
    return hashlib.sha256(source.encode(errors="surrogatepass")).hexdigest()


def _broken_rules(row: LayoutRecord) -> Iterator[str]:
    if row.unit % BLOCK:
        yield f"unit {row.unit} is not a multiple of {BLOCK}"
    if row.strip_min > row.strip_max:
        yield f"strips of {row.strip_min} to {row.strip_max} bytes"
    if row.strip_min % row.unit or row.strip_max % row.unit:
        yield f"strips of {row.strip_min} to {row.strip_max} bytes in units of {row.unit}"


def _check_schema(store: Store) -> Iterator[Finding]:
    with closing(sqlite3.connect(":memory:")) as pristine:
        pristine.executescript(TABLES)
        wanted = _objects(pristine.execute(_OBJECTS).fetchall())
    found = _objects(store.rows.all(_OBJECTS))
    for (kind, name), sql in wanted.items():
        if (kind, name) not in found:
            yield Finding("schema", f"{store.path}: {kind} {name} is missing")
        elif found[kind, name] != sql:
            yield Finding("schema", f"{store.path}: {kind} {name} is not as it was made")
    for kind, name in found.keys() - wanted.keys():
        yield Finding("schema", f"{store.path}: {kind} {shown(name)} does not belong here")


# What ANALYZE leaves is SQLite's own, and harmless.
_OBJECTS = "SELECT type,name,sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_stat%'"


def _objects(rows: list[tuple[str, str, object]]) -> dict[tuple[str, str], str]:
    return {(str(kind), str(name)): _essence(sql) for kind, name, sql in rows}


def _essence(sql: object) -> str:
    """Return a definition without comments and blanks: these may change with no new version."""
    return "".join(re.sub(r"--[^\n]*", "", str(sql)).split())
