# SPDX-License-Identifier: MIT
"""Floor 8: everything that may wait: slow path, allocation, durability points, admin socket."""
