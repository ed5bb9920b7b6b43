# SPDX-License-Identifier: MIT
"""The control plane of tests/control, for what stands on it."""

from tests.control.conftest import control, live

__all__ = ["control", "live"]
