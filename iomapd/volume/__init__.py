# SPDX-License-Identifier: MIT
"""Floor 4: layout files, members and superblocks."""
