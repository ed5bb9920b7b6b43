# SPDX-License-Identifier: MIT
"""What Python does to words that lanes share with it: by compiled helpers, like the lanes.

A plain store is neither a release nor a fence, and a read followed by a write is not atomic.
Where nothing can be compiled there are no lanes either, and the interpreted twins do.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Final

from iomapd.cache.entry import (
    add_bits,
    hold,
    is_shown,
    next_dirty,
    put,
    raise_to,
    release,
    take,
)
from iomapd.cache.marks import collect_runs, mark, unmark
from iomapd.jit.sources import CompileError
from iomapd.jit.unit import load_unit

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

_ENTRIES: Final = (
    add_bits, collect_runs, hold, is_shown, mark, next_dirty, put, raise_to,
    release, take, unmark,
)  # fmt: skip


class Helpers:
    """The functions of `entry` and `marks` that Python calls, compiled where that is possible."""

    __slots__ = tuple(function.__name__ for function in _ENTRIES)

    add_bits: Callable[[int, int], int]
    collect_runs: Callable[[int, int, int, int, int], int]
    hold: Callable[[int], int]
    is_shown: Callable[[int, int, int], int]
    mark: Callable[[int, int, int, int], int]
    next_dirty: Callable[[int, int, int], int]
    put: Callable[[int, int], int]
    raise_to: Callable[[int, int], int]
    release: Callable[[int], int]
    take: Callable[[int], int]
    unmark: Callable[[int, int, int], int]


@functools.cache
def helpers() -> Helpers:
    """Return the helpers, loaded once per process."""
    found = Helpers()
    try:
        unit = load_unit("table", _ENTRIES)
    except CompileError as exc:
        log.warning("the inode table runs interpreted: %s", exc)
        for function in _ENTRIES:
            setattr(found, function.__name__, function)
        return found
    for function in _ENTRIES:
        setattr(found, function.__name__, unit.function(function.__name__))
    return found
