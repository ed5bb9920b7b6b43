# SPDX-License-Identifier: MIT
"""Floor 1: loads, stores, fences and system calls, as plain Python twins that jit/ overloads."""
