# SPDX-License-Identifier: MIT
"""bench/mapping_cost.py still runs; its figures are not looked at."""

import importlib.util
import json
import sys
from pathlib import Path

from iomapd.abi.program import CTX_SIZE
from iomapd.dataplane.engine import ROOM, encode
from iomapd.dataplane.find import PIECE_SIZE
from iomapd.mapping.extent import Extent, Strip
from iomapd.native.memory import store64
from iomapd.native.region import Region

MIB = 1 << 20
PATH = Path(__file__).parent.parent / "bench" / "mapping_cost.py"


def load(monkeypatch):
    spec = importlib.util.spec_from_file_location("mapping_cost", PATH)
    bench = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "mapping_cost", bench)
    spec.loader.exec_module(bench)
    return bench


def test_the_bench_runs(monkeypatch, capsys, tmp_path):
    bench = load(monkeypatch)
    monkeypatch.setattr(bench, "UNITS", (MIB,))
    words = [
        "--rounds",
        "1",
        "--seconds",
        "0",
        "--json",
        tmp_path / "c",
        "--chart",
        tmp_path / "p.png",
    ]
    monkeypatch.setattr(sys, "argv", ["mapping_cost.py", *map(str, words)])
    bench.main()
    out = capsys.readouterr().out
    assert all(word in out for word in ("INTERPRETED", "COMPILED", "LANE", "upcall", "1MiB"))
    costs = json.loads((tmp_path / "c").read_text())["costs"]
    assert {(cost["form"], cost["strategy"]) for cost in costs} == {
        *((form, strategy) for form in bench.FORMS for strategy in bench.STRATEGIES),
        *(("lane", strategy) for strategy in bench.LANES),
    }
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_a_lane_s_loop_counts_what_it_maps(monkeypatch):
    bench = load(monkeypatch)
    strips = (Strip(1, 0), Strip(2, 0))
    extent = encode(Extent(7, 0, 8 * MIB, 1, MIB, 7, 4 * MIB, 4 * MIB, strips))
    ctx, out, requests = Region(CTX_SIZE), Region(ROOM * PIECE_SIZE), Region(4096)
    for index, pos in enumerate((0, MIB + 4096, 6 * MIB)):
        store64(requests.addr + 8 * index, pos)
    # Aligned 2 MiB are two pieces, others three.
    count = bench.map_requests(extent.addr, requests.addr, 3, 2 * MIB, ctx.addr, out.addr, ROOM)
    assert count == 2 + 3 + 2
