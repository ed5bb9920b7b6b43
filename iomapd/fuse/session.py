# SPDX-License-Identifier: MIT
"""pyfuse3's main loop, fed through the transport's socket pair."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyfuse3

if TYPE_CHECKING:
    from iomapd.fuse.operations import Operations

# Requests of a held inode wait in their task; far more of them than the kernel
# sends at a time (max_background), so that others are always served.
TASKS_MAX: Final = 1024


class Session:
    """One pyfuse3 session; there can be only one in a process.

    Args:
        operations: the handlers.
        server_path: ``/dev/fd/N`` of the transport's server end; libfuse takes
            the descriptor over.
    """

    def __init__(self, operations: Operations, server_path: str) -> None:
        # No mount options: the transport has mounted.
        pyfuse3.init(operations, server_path, set())

    async def run(self) -> None:
        """Serve until `stop`; requests under way are finished."""
        await pyfuse3.main(min_tasks=8, max_tasks=TASKS_MAX)

    def stop(self) -> None:
        """End `run`; from its own thread only."""
        pyfuse3.terminate()

    def close(self) -> None:
        """Free the session; the mount is the transport's business."""
        pyfuse3.close(unmount=False)
