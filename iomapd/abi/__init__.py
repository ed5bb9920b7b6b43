# SPDX-License-Identifier: MIT
"""Floor 1: layouts, flags, statuses and numbers that cross a boundary (kernel, disk, compiled code)."""
