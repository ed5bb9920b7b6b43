# SPDX-License-Identifier: MIT
"""Floor 5: extents already known, inode table, slots, content marks, validity cookie."""
