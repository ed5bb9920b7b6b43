# SPDX-License-Identifier: MIT
"""What ``stats`` answers: the counters of all rooms, put together.

Durations in ns, sizes in bytes, all since the mount.  Nothing here is measured anew: lanes count in
memory of their own, a load and a store each, and this adds up what it finds.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from iomapd.server.data_plane import DataPlane
    from iomapd.transport.transport import TransportStatistics

_SHARED: Final = ("reads", "read_bytes", "writes", "written_bytes", "errors")


def put_together(
    requests: Mapping[str, list[int]],
    transport: TransportStatistics,
    control: dict[str, Any],
    lanes: DataPlane,
    started_ns: int,
) -> dict[str, Any]:
    """Return the body of ``stats --json``.

    Args:
        requests: count and ns of each operation that Python answered.
        transport: messages.
        control: the control plane's part, see `control.report`.
        lanes: the data plane's.
        started_ns: when the mount began, of the monotonic clock.
    """
    counted = lanes.statistics()
    return {
        "schema": "iomapd.stats",
        "version": 1,
        "uptime_ns": time.monotonic_ns() - started_ns,
        "data_plane": lanes.describe(),
        "lanes": counted,
        "requests": {
            name: {"count": count, "ns": spent} for name, (count, spent) in sorted(requests.items())
        },
        "transport": asdict(transport),
        **control,
        "members": list(add_up(control["members"], counted.get("members", {}))),
    }


def add_up(
    members: Iterable[dict[str, Any]], by_lanes: Mapping[int, Mapping[str, Any]]
) -> Iterable[dict[str, Any]]:
    """Yield each member with the I/O of both planes; what lanes did of it beside, ``by_lanes``."""
    for member in members:
        part = by_lanes.get(member["id"], {})
        total = {name: member[name] + part.get(name, 0) for name in _SHARED}
        error = member["last_error"] or part.get("last_error", "")
        share = {name: part.get(name, 0) for name in _SHARED}
        yield {**member, **total, "last_error": error, "by_lanes": share}
