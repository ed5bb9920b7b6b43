# SPDX-License-Identifier: MIT
"""Floor 10: assembles one mount: planes, threads, start and end."""
