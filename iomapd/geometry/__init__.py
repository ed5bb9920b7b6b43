# SPDX-License-Identifier: MIT
"""Floor 2: ranges and stripes; pure integer arithmetic."""
