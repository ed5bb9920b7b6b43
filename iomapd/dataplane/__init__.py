# SPDX-License-Identifier: MIT
"""Floor 6: find extent, map, check, member I/O; no waiting."""
