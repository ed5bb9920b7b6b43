# SPDX-License-Identifier: MIT
"""Floor 7: /dev/fuse, relays, INIT and OPEN replies: who gets which message."""
