# SPDX-License-Identifier: MIT
"""Lanes, I/O modes and strategies in every pair: the same files, whichever way they go.

One volume goes from cell to cell, so each reads what the others wrote.  Here a few steps show that
a cell works, and is the one that was asked for; `make matrix` runs all mounted tests in each.
"""

import json

import pytest

from tests.mounted import tagged
from tests.mounted.fsx import FileMachine
from tests.mounted.harness import IO_MODE, LANES, MAPPER, ON_HOST, soak
from tests.mounted.matrix import CELLS

pytestmark = [
    pytest.mark.skipif(ON_HOST, reason="a plain directory has no lanes"),
    pytest.mark.skipif(bool(LANES or IO_MODE or MAPPER), reason="cells are chosen here"),
]
KIB, BLOCK = 1 << 10, tagged.BLOCK
VOLUME = {"members": 3, "unit": "8KiB", "sizes": ("24MiB",)}


@pytest.mark.parametrize(("lanes", "mode", "mapper"), CELLS, ids=["-".join(c) for c in CELLS])
def test_a_cell_serves_what_the_others_wrote(lanes, mode, mapper, shared_volume, tmp_path):
    volume = shared_volume
    volume.lanes = lanes
    volume.remount(f"io={mode}", f"mapper={mapper}")
    info = volume.info()
    assert {member["io_mode"] for member in info["members"]} == {mode}
    assert info["mapper"] == mapper
    assert (info["data_plane"]["lanes"] == 0) == (lanes == "0")
    for path in volume.mnt.glob("*.kept"):
        tagged.check(path.read_bytes(), CELLS.index(tuple(path.stem.split("-"))))
    machine = FileMachine(
        volume.mnt / "file", tmp_path / "reference", 7, max_size=800 * KIB, max_io=300 * KIB
    )
    machine.run(soak(25))
    machine.close()
    (volume.mnt / "file").unlink()
    kept = tagged.content(CELLS.index((lanes, mode, mapper)), 300 * BLOCK)
    (volume.mnt / f"{lanes}-{mode}-{mapper}.kept").write_bytes(kept)
    if lanes != "0":
        served = json.loads(volume.cli("stats", "--json", volume.mnt).stdout)["lanes"]
        assert served["writes"] + served["reads"] > 0, "all of it went another way"
