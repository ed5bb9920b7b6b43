# SPDX-License-Identifier: MIT
"""Floor 4: compiles plain functions; keeps the object files."""
