# SPDX-License-Identifier: MIT
"""Is the store's file itself in order: what SQLite says, and faults of it as our errors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from iomapd.errors import StoreError
from iomapd.meta.rows import words_of

if TYPE_CHECKING:
    from iomapd.meta.store import Store

NR_FAULTS_MAX: Final = 20
"""A store whose pages are gone has thousands of faults; these are enough to know."""

_OF_ROWS: Final = re.compile(r"\bvalue in |^CHECK constraint failed")
"""What SQLite says of values; the checks of rows say it with the file's name."""


def integrity_faults(store: Store) -> list[str]:
    """Return what is wrong with the file as a database; empty when nothing is.

    Pages, and indexes against tables.
    """
    try:
        found = [str(row[0]) for row in store.rows.all(f"PRAGMA integrity_check({NR_FAULTS_MAX})")]
    except StoreError as exc:
        return [str(exc)]
    if found == ["ok"]:
        return []
    return [words_of(text) for text in found if not _OF_ROWS.search(text)]
