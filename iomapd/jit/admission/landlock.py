# SPDX-License-Identifier: MIT
"""Landlock: this process gives up changing any file, for good; `man 7 landlock`.

    struct landlock_ruleset_attr       OFFSET  SIZE  FIELD
                                            0     8  handled_access_fs
                                            8     8  handled_access_net

A ruleset forbids what it handles and no rule allows.  This one handles everything that changes a
file system, and all of TCP, and has no rules.  Reading stays free: Python has modules to import.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Final

_CREATE_RULESET: Final = 444  # these numbers are the same on every architecture
_RESTRICT_SELF: Final = 446
_VERSION: Final = 1  # flag of the first: say which version the kernel has
_RULESET: Final = struct.Struct("<QQ")

# WRITE_FILE, and REMOVE_DIR to MAKE_SYM; the bits between read files and directories.
_CHANGES: Final = 1 << 1 | sum(1 << bit for bit in range(4, 13))
# Rights that came later, each with the version that brought it.
_REFER: Final = (2, 1 << 13)
_TRUNCATE: Final = (3, 1 << 14)
_NET_VERSION: Final = 4
_NET: Final = 1 << 0 | 1 << 1  # bind and connect


def give_up_changes() -> bool:
    """Forbid this process to change files; needs no privilege, but "no new privileges" set.

    Returns:
        False where the kernel has no Landlock, or has it switched off.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, 0, _VERSION)
    if version < 1:
        return False
    rights = _CHANGES | sum(right for since, right in (_REFER, _TRUNCATE) if version >= since)
    net = _NET if version >= _NET_VERSION else 0
    # Older kernels know the first field only, and refuse a longer record that is not zero.
    attributes = _RULESET.pack(rights, net)
    ruleset = libc.syscall(_CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset < 0:
        return False
    try:
        return bool(libc.syscall(_RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)
