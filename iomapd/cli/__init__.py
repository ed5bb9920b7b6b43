# SPDX-License-Identifier: MIT
"""Floor 12: the only room that prints: one module per command."""
