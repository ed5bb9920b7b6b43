# SPDX-License-Identifier: MIT
"""Floor 4: the metadata store."""
