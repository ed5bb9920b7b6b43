# SPDX-License-Identifier: MIT
"""How whoever waits is told what is going on."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is (0: unknown)."""
