# SPDX-License-Identifier: MIT
"""The walk that every program is compiled into, as far as it is the same for all of them.

numba takes a second for it, so that is done once; LLVM then needs milliseconds per program.
"""

from __future__ import annotations

from typing import Final

from iomapd.jit.unit import load_linked
from iomapd.mapping.walk import walk_by
from iomapd.native.calls import linked_answer

WALK: Final = "walk"
"""Name of the function in a program's object file; arguments as of `mapping.walk.walk`."""

_walk = walk_by(WALK, linked_answer)


def linked_walk() -> bytes:
    """Return the walk as LLVM bitcode that calls a program not yet linked in.

    Raises:
        CompileError: it does not compile here.
    """
    return load_linked(WALK, [_walk])
