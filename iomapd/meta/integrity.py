# SPDX-License-Identifier: MIT
"""Is the store's file itself in order: what SQLite says, and faults of it as our errors."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from iomapd.meta.database import store_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iomapd.meta.store import Store

NR_FAULTS_MAX: Final = 20
"""A store whose pages are gone has thousands of faults; these are enough to know."""


def integrity_faults(store: Store) -> list[str]:
    """Return what is wrong with the file as a database; empty when nothing is.

    Pages, indexes against tables, constraints, and rows that name a layout or
    program that is not there.
    """
    execute = store._database.connection.execute
    try:
        found = [row[0] for row in execute(f"PRAGMA integrity_check({NR_FAULTS_MAX})")]
        faults = [] if found == ["ok"] else [" ".join(str(text).split()) for text in found]
        for table, _, parent, _ in execute("PRAGMA foreign_key_check").fetchmany(NR_FAULTS_MAX):
            faults.append(f"a row of table {table} names a {parent} that is not there")
    except sqlite3.Error as exc:
        faults = [str(exc)]
    return faults


@contextmanager
def reading(store: Store) -> Iterator[None]:
    """Turn faults met while reading into a `StoreError` that names the store.

    Raises:
        StoreError: SQLite could not read on.
    """
    try:
        yield
    except sqlite3.Error as exc:
        raise store_error(store.path, exc) from exc
