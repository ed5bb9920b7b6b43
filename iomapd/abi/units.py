# SPDX-License-Identifier: MIT
"""Sizes that everything agrees on, in bytes."""

from __future__ import annotations

from typing import Final

BLOCK: Final = 4096
"""Granularity of space, marks and superblocks, bytes; larger logical sectors are refused."""

MAX_FILE_SIZE: Final = 2**63 - 1
"""Largest file size, bytes: the kernel's ``loff_t``."""

NAME_MAX: Final = 255
"""Longest file name, bytes (``statfs.f_namemax``)."""
