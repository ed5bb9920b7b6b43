# SPDX-License-Identifier: MIT
"""What ``iomapd stats`` prints for people: who served what, how fast, and why not in a lane.

A latency histogram has a bar for each power of two of cycles; the number beside it is the upper
bound in time.  Percentiles are upper bounds of their bar, so true within a factor of two.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from iomapd.cli import console
from iomapd.geometry.sizes import format_size

_BAR: Final = 40
_STEPS: Final = (("s", 10**9), ("ms", 10**6), ("us", 10**3), ("ns", 1))

# Of what the server counts; all other numbers only ever rise.
_AS_THEY_ARE: Final = ("version", "uptime_ns", "data_plane", "space", "index", "id", "in_table")

Bins = Sequence[Mapping[str, int]]


def render(counters: Mapping[str, Any], elapsed: float = 0.0) -> Iterator[str]:
    """Yield the lines of a picture of *counters*.

    Args:
        counters: body of ``stats --json``, or the `difference` of two.
        elapsed: seconds that a difference spans; 0: these are totals since the mount.
    """
    plane, lanes = counters["data_plane"], counters["lanes"]
    yield f"lanes    {describe_lanes(plane)}"
    span = f"last {elapsed:.1f} s" if elapsed else f"mounted for {_time(counters['uptime_ns'])}"
    yield f"time     {span}"
    if lanes:
        yield from _served(lanes, elapsed)
        yield from _histogram("READ", lanes["read_latency"])
        yield from _histogram("WRITE", lanes["write_latency"])
    yield from _python(counters["requests"], elapsed)
    yield from _members(counters["members"], elapsed)
    yield from _rest(counters)


def describe_lanes(plane: Mapping[str, Any]) -> str:
    """Return ``2 (one per CPU)`` or ``off: why``, from what the server says of its data plane."""
    reason = str(plane["reason"])
    return f"{plane['lanes']} ({reason})" if plane["lanes"] else reason


def difference(now: Any, before: Any) -> Any:
    """Return what was counted since *before*: *now* with its counters lowered."""
    if isinstance(now, dict):
        known = before if isinstance(before, dict) else {}
        return {
            key: value if key in _AS_THEY_ARE else difference(value, known.get(key))
            for key, value in now.items()
        }
    if isinstance(now, list):
        if now and isinstance(now[0], dict) and "bin" in now[0]:
            counted = {b["bin"]: b["count"] for b in before or ()}
            bins = [{**b, "count": b["count"] - counted.get(b["bin"], 0)} for b in now]
            return [b for b in bins if b["count"]]
        known_items = before if isinstance(before, list) else []
        padded = [*known_items, *[None] * (len(now) - len(known_items))]
        return [difference(item, was) for item, was in zip(now, padded, strict=False)]
    if isinstance(now, int) and not isinstance(now, bool) and isinstance(before, int):
        return now - before
    return now


def percentile(bins: Bins, share: float) -> int:
    """Return a bound in ns below which at least *share* (0 to 1) of the requests were."""
    wanted, seen = share * sum(b["count"] for b in bins), 0
    for b in bins:
        seen += b["count"]
        if seen >= wanted:
            return b["below_ns"]
    return 0


def _served(lanes: Mapping[str, Any], elapsed: float) -> Iterator[str]:
    per = "/s" if elapsed else ""
    head = ("LANES", f"REQUESTS{per}", f"BYTES{per}", "P50", "P99", "SLOWEST")
    rows = []
    for name, bytes_name in (("read", "read_bytes"), ("write", "written_bytes")):
        bins = lanes[f"{name}_latency"]
        marks = [f"<{_time(percentile(bins, share))}" if bins else "-" for share in (0.5, 0.99, 1)]
        count = _rate(lanes[f"{name}s"], elapsed)
        rows.append((name, count, format_size(_rate(lanes[bytes_name], elapsed)), *marks))
    yield ""
    yield console.table(head, rows, left="LANES")
    reasons = [f"{name} {n}" for name, n in lanes["forwarded"].items() if n]
    others = [f"{name} {lanes[name]}" for name in ("parked", "resumed", "errors", "undelivered")]
    yield f"left to Python: {', '.join(reasons) or 'nothing'}"
    yield f"{', '.join(others)}"
    shares = [f"{t['name']}: {t['reads'] + t['writes']}" for t in lanes["threads"]]
    yield f"served by {', '.join(shares)}"


def _histogram(name: str, bins: Bins) -> Iterator[str]:
    if not bins:
        return
    most = max(b["count"] for b in bins)
    by_bin = {b["bin"]: b for b in bins}
    first, last = min(by_bin), max(by_bin)
    yield ""
    yield f"{name} latency"
    for number in range(first, last + 1):
        found = by_bin.get(number)
        # Bins that nothing fell into are not told; their bound is a power of two away.
        bound = found["below_ns"] if found else by_bin[first]["below_ns"] << (number - first)
        count = found["count"] if found else 0
        yield f"{'<' + _time(bound):>10}  {bar(count / most):<{_BAR}}  {count}".rstrip()


def bar(share: float, width: int = _BAR) -> str:
    """Return a bar of *share* (0 to 1) of *width* cells; what is there at all shows."""
    if "utf" not in (sys.stdout.encoding or "").lower():
        return "#" * max(round(share * width), share > 0)
    eighths = max(round(share * width * 8), share > 0)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def _python(requests: Mapping[str, Mapping[str, int]], elapsed: float) -> Iterator[str]:
    rows = [
        (name, _rate(counted["count"], elapsed), _time(counted["ns"] // counted["count"]))
        for name, counted in sorted(requests.items(), key=lambda item: -item[1]["count"])
        if counted["count"] > 0
    ]
    if rows:
        yield ""
        per = "/s" if elapsed else ""
        yield console.table(("PYTHON", f"REQUESTS{per}", "MEAN"), rows, left="PYTHON")


def _members(members: Sequence[Mapping[str, Any]], elapsed: float) -> Iterator[str]:
    per = "/s" if elapsed else ""
    head = (
        "MEMBER", f"READS{per}", f"BYTES READ{per}", f"WRITES{per}", f"BYTES WRITTEN{per}",
        "BY LANES", "FLUSHES", "ERRORS",
    )  # fmt: skip
    rows = []
    for m in members:
        lanes, calls = m["by_lanes"], m["reads"] + m["writes"]
        share = (lanes["reads"] + lanes["writes"]) / calls if calls else 0.0
        rows.append(
            (
                m["index"],
                _rate(m["reads"], elapsed),
                format_size(_rate(m["read_bytes"], elapsed)),
                _rate(m["writes"], elapsed),
                format_size(_rate(m["written_bytes"], elapsed)),
                f"{share:.0%}",
                m["flushes"],
                m["errors"],
            )
        )
    yield ""
    yield console.table(head, rows)
    yield from (f"member {m['index']}: {m['last_error']}" for m in members if m["last_error"])


def _rest(counters: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is counted elsewhere, a line for each room; what is zero is left out."""
    shown = ("schema", "version", "uptime_ns", "data_plane", "lanes", "requests", "members")
    yield ""
    for name, value in counters.items():
        if name in shown:
            continue
        parts = [f"{key} {_with_unit(f'{name}.{key}', n)}" for key, n in flatten(value) if n]
        if parts:
            yield f"{name:<10} {', '.join(parts)}"


def _with_unit(name: str, value: object) -> str:
    """Write a counter with the unit that its name implies."""
    words = name.replace(".", "_").split("_")
    if isinstance(value, int) and "ns" in words:
        return _time(value)
    if isinstance(value, int) and ("space" in words or "bytes" in words):
        return format_size(value)
    return str(value)


def flatten(counters: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield ``("cache.hits", 7)`` for ``{"cache": {"hits": 7}}``; list items go by their index."""
    for key, value in counters.items():
        if isinstance(value, list):
            value = {str(index): item for index, item in enumerate(value)}
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _rate(count: int, elapsed: float) -> int:
    return round(count / elapsed) if elapsed else count


def _time(ns: int) -> str:
    """Write a duration for people: ``850ns``, ``1.4ms``, ``12s``."""
    for suffix, factor in _STEPS:
        if ns >= factor:
            whole = ns / factor
            return f"{whole:.1f}{suffix}" if whole < 10 and factor > 1 else f"{whole:.0f}{suffix}"
    return "0ns"
