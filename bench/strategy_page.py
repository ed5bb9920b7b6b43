# SPDX-License-Identifier: MIT
"""The generated part of docs/comparison.md: tables, and what follows from them in numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.candidates import KIB, MIB, BenchError
from bench.report import number
from bench.rounds import spread
from bench.strategy_costs import WAYS
from bench.strategy_table import GIB, RECORD, Samples, Where
from iomapd.geometry.sizes import format_size

BEGIN: Final = "<!-- begin figures: written by bench/strategies.py, changed by hand in vain -->"
END: Final = "<!-- end figures -->"

_MOVED: Final = {
    "upcall": "upcalls move",
    "cache": "the cache moves",
    "record": "the built-in formula moves",
}
_CAP: Final = 256 * KIB  # of a fork, FUSE_IOMAP_CACHE_DEFAULT_MAXBYTES of the kernel series
_CAP_MAX: Final = 2 * MIB

Rows = Sequence[tuple[str, Where]]


def update(page: Path, section: str) -> None:
    """Put *section* between the markers of *page*.

    Raises:
        BenchError: the page has no such markers.
    """
    text = page.read_text()
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise BenchError(f"{page}: the lines around the figures are gone: {BEGIN} ... {END}")
    page.write_text(f"{head}{BEGIN}\n\n{section}\n\n{END}{tail}")


def section(body: Mapping[str, Any]) -> str:
    """Return the figures of a run, in Markdown."""
    samples = Samples(body)
    parts = [*_head(body), "### In short", "", *_list(_sentences(samples)), ""]
    for title, words, table in _tables(samples):
        parts += [f"### {title}", "", *([words, ""] if words else []), *table, ""]
    return "\n".join(parts).rstrip()


def _head(body: Mapping[str, Any]) -> Iterator[str]:
    settings, about, load = body["settings"], body["machine"], body["load"]
    yield f"{body['date']}, {body['on']}, fio {about['fio']}, iomapd {about['iomapd']};"
    yield (
        f"{settings['lanes']} lanes, files of {format_size(settings['size'])}; medians of "
        f"{settings['rounds']} rounds of {settings['seconds']:g} s, ± half the distance from the "
        f"best to the worst.  Load before {load[0]:.1f}, after {load[-1]:.1f}."
    )
    if body["busy"]:
        yield ""
        yield "**The machine was busy: these figures mean nothing.**"
    yield ""


def _sentences(samples: Samples) -> Iterator[str]:
    small, middle, large = samples.small, samples.middle, max(samples.grid["requests"])
    yield from _trip(samples, middle)
    known = samples.where("warm", "read", small, large)
    first = samples.where("cold", "read", small, large)
    pieces = -(-large // small)
    asked = f"{format_size(large)} at units of {format_size(small)}, {pieces} mappings a request"
    names = [name for name in _MOVED if name in samples.strategies]
    ratios = [f"{_times(samples, name, known)} what {_MOVED[name]}" for name in names]
    yield (
        f"Sequential, {asked}: once all mappings are known, the program moves "
        f"{', '.join(ratios)}.  The first time a file is read: "
        f"{', '.join(_times(samples, it, first) for it in names)} that."
    )
    for other, words in (("record", "the built-in formula"), ("cache", "a warm cache")):
        if found := samples.ratios("program", other):
            yield (
                f"Over all {len(found)} warm cells, the program's rate is {median(found):.2f} of "
                f"that of {words} in the middle, {min(found):.2f} at worst, "
                f"{max(found):.2f} at best."
            )
    yield from _execution(samples, small, large)
    held = samples.median("cache", first, "held_per_gib")
    fork = samples.median("program", first, "held")
    size = samples.body["settings"]["size"]
    if held and fork:
        yield (
            f"A first read leaves {format_size(round(held))} of records per GiB at units of "
            f"{format_size(small)}; the extents of a file of {format_size(size)}, all that formula "
            f"and program need, take {number(fork)} bytes."
        )


def _trip(samples: Samples, unit: int) -> Iterator[str]:
    where = samples.where("warm", "randread", unit, min(samples.grid["requests"]))
    asked, formula = (samples.median(it, where, "p50_ns") for it in ("upcall", "record"))
    asked_cpu, formula_cpu = (samples.median(it, where, "cpu") for it in ("upcall", "record"))
    if asked and formula and asked_cpu is not None and formula_cpu is not None:
        per_request = (asked_cpu - formula_cpu) * where["request"] / GIB * 1e6
        yield (
            f"An upcall adds {number((asked - formula) / 1000)} us to a request of one mapping "
            f"(p50 {number(asked / 1000)} us against {number(formula / 1000)} us), and costs the "
            f"server {number(per_request)} us of CPU."
        )


def _execution(samples: Samples, unit: int, request: int) -> Iterator[str]:
    ways = {way: median(ns[unit]) for way in WAYS if unit in (ns := samples.costs(way))}
    if not {"program", "record", "cache"} <= ways.keys():
        return
    pieces = -(-request // unit)
    words = (
        f"One mapping at units of {format_size(unit)}: formula {number(ways['record'])} ns, "
        f"program {number(ways['program'])} ns, table {number(ways['cache'])} ns"
    )
    if "bpf" in ways:
        words += f", the same program as BPF in the kernel {number(ways['bpf'])} ns"
    yield f"{words}; times {pieces} for a request of {format_size(request)}."


def _times(samples: Samples, other: str, where: Where) -> str:
    ratio = samples.ratio("program", other, where)
    return f"{number(ratio)} times" if ratio >= 2 else f"{ratio:.2f} times"


def _tables(samples: Samples) -> Iterator[tuple[str, str, list[str]]]:
    grid, large = samples.grid, max(samples.grid["requests"])
    charts = "../bench/results/strategies"

    def over_units(phase: str, pattern: str, request: int) -> Rows:
        return [(format_size(u), samples.where(phase, pattern, u, request)) for u in grid["units"]]

    yield (
        f"Warm: sequential reads of {format_size(large)}, 8 in flight, GiB/s",
        f"![Over the stripe unit]({charts}/units.png)",
        _table(samples, "unit", over_units("warm", "read", large), "bandwidth", GIB),
    )
    yield (
        "The same, CPU seconds of the server per GiB",
        "",
        _table(samples, "unit", over_units("warm", "read", large), "cpu", 1),
    )
    yield (
        f"Cold: the first sequential read, {format_size(large)}, 1 in flight, GiB/s",
        "",
        _table(samples, "unit", over_units("cold", "read", large), "bandwidth", GIB),
    )
    yield (
        "The same, trips to the control plane per GiB",
        "A property of the strategy, not of this machine.",
        _table(samples, "unit", over_units("cold", "read", large), "trips", 1),
    )
    for phase in ("warm", "cold"):
        yield (
            f"{phase.capitalize()}: random reads of 4KiB, 1 in flight, p50 / p99 in us",
            "",
            _percentiles(samples, over_units(phase, "randread", 4 * KIB)),
        )
    yield from _shapes(samples, charts)
    yield _memory(samples, over_units("cold", "read", large))
    yield _costs(samples, charts)


def _shapes(samples: Samples, charts: str) -> Iterator[tuple[str, str, list[str]]]:
    grid, large = samples.grid, max(samples.grid["requests"])
    requests: Rows = [
        (format_size(request), samples.where("warm", "randread", samples.middle, request))
        for request in grid["requests"]
    ]
    yield (
        f"Requests: random, 1 in flight, unit {format_size(samples.middle)}, p50 / p99 in us",
        f"![Over the request]({charts}/requests.png)\n\n![program / other]({charts}/grid.png)",
        _percentiles(samples, requests, "request"),
    )
    for unit in grid["width_units"]:
        widths: Rows = [
            (str(width), samples.where("warm", "read", unit, large, width))
            for width in grid["widths"]
        ]
        yield (
            f"Members: sequential reads of {format_size(large)}, unit {format_size(unit)}, GiB/s",
            f"![Over the members]({charts}/members.png)" if unit == samples.small else "",
            _table(samples, "members", widths, "bandwidth", GIB),
        )


def _memory(samples: Samples, rows: Rows) -> tuple[str, str, list[str]]:
    lines = []
    for words, where in rows:
        held = samples.median("cache", where, "held_per_gib")
        grown = [samples.median(it, where, "memory") for it in ("cache", "program")]
        reach = [format_size(cap // RECORD * where["unit"]) for cap in (_CAP, _CAP_MAX)]
        found = ["-" if it is None else format_size(max(round(it), 0)) for it in (held, *grown)]
        lines.append((words, *found, *reach))
    head = (
        "unit", "records per GiB", "server grew: cache", "server grew: program",
        "256 KiB of records reach", "2 MiB reach",
    )  # fmt: skip
    size = format_size(samples.body["settings"]["size"])
    words = (
        "After a first sequential read: the table that lanes search, 32 bytes per record; what the "
        f"server's private memory grew by for the file of {size}, with all around the table.  "
        "The last columns are arithmetic: how long a file the kernel series' default and largest "
        "cache of one fork describe."
    )
    return "Memory that mappings hold", words, _markdown(head, lines)


def _costs(samples: Samples, charts: str) -> tuple[str, str, list[str]]:
    found = {way: costs for way in WAYS if (costs := samples.costs(way))}
    lines = [
        (format_size(unit), *(_cell(costs.get(unit, []), 1) for costs in found.values()))
        for unit in samples.grid["units"]
    ]
    skipped = [f"BPF: {it['skipped']}." for it in samples.body["mapping"] if "skipped" in it]
    words = "\n\n".join([f"![One mapping]({charts}/mapping.png)", *skipped])
    return "One mapping, no data moved, ns", words, _markdown(("unit", *found), lines)


def _table(samples: Samples, first: str, rows: Rows, figure: str, by: float) -> list[str]:
    lines = [
        (words, *(_cell(samples.rounds(it, where, figure), by) for it in samples.strategies))
        for words, where in rows
    ]
    return _markdown((first, *samples.strategies), lines)


def _percentiles(samples: Samples, rows: Rows, first: str = "unit") -> list[str]:
    def cell(strategy: str, where: Where) -> str:
        marks = [samples.median(strategy, where, it) for it in ("p50_ns", "p99_ns")]
        return " / ".join("-" if it is None else number(it / 1000) for it in marks)

    lines = [(words, *(cell(it, where) for it in samples.strategies)) for words, where in rows]
    return _markdown((first, *samples.strategies), lines)


def _cell(rounds: Sequence[float], by: float) -> str:
    if not rounds:
        return "-"
    middle = median(rounds)
    return f"{number(middle / by)} ±{spread(rounds):.0%}" if middle else "0"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---:"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _list(sentences: Iterator[str]) -> list[str]:
    return [f"- {sentence}" for sentence in sentences]
