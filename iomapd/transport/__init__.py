# SPDX-License-Identifier: MIT
"""Floor 7: /dev/fuse, relays, INIT and OPEN replies: who gets which message.

    application -> kernel -> /dev/fuse <-> relays <-> socket pair <-> server (pyfuse3)

What passes is edited on the way; abi/fuse.py has the table.
"""

from iomapd.transport.handshake import Limits, Wishes
from iomapd.transport.mount import MountOptions
from iomapd.transport.splice import forgo_splice
from iomapd.transport.transport import ABORTED, UNMOUNTED, Transport, TransportStatistics

__all__ = [
    "ABORTED",
    "UNMOUNTED",
    "Limits",
    "MountOptions",
    "Transport",
    "TransportStatistics",
    "Wishes",
    "forgo_splice",
]
