# SPDX-License-Identifier: MIT
"""Measurements: one question per module; `python -m bench.NAME`."""
