# SPDX-License-Identifier: MIT
"""Floor 3: what a mapping may say: the record, its contract, ordered extents, the walk over one."""
