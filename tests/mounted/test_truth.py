# SPDX-License-Identifier: MIT
"""No foreign byte, ever: readers beside writers on a volume too small for what they want."""

import json
import os
import select

import pytest

from tests.mounted import plumbing, worker
from tests.mounted.harness import LANES, ON_HOST, SOAK, bytes_of

MIB = 1 << 20
SECONDS = 600 * SOAK or 4
STUCK_SECONDS = 90
# Three members of 3 MiB hold some 6; two crowds of six files want up to 24.
PLAN = {"members": 3, "sizes": ("3MiB",), "unit": "16KiB"}
FILE_SIZE = 2 * MIB


def crowds(volume, seconds, size=FILE_SIZE, files=3, readers=2):
    """Run two crowds on *volume*, each a process; return what they did, and what they saw.

    When one has seen something, the other ends too.
    """
    started = [
        worker.run_module(
            *("tests.mounted.truth", volume.mnt, number, seconds, size, files, readers), stderr=-1
        )
        for number in (1, 2)
    ]
    watched = {os.pidfd_open(process.pid): process for process in started}
    first, _, _ = select.select(list(watched), [], [], seconds + STUCK_SECONDS)
    for process in started:
        if any(watched[fd].wait() for fd in first):
            process.terminate()
    told = [process.communicate(timeout=STUCK_SECONDS) for process in started]
    for fd in watched:
        os.close(fd)
    counts = [json.loads(out) for out, _ in told if out]
    return counts, "".join(errors for _, errors in told)


def spoiled(make_volume, **plan):
    """A volume, not yet mounted, whose members are full of what must never be seen."""
    volume = make_volume(**{**PLAN, **plan}, mounted=False)
    if not ON_HOST:
        for path, size in zip(volume.members, volume.sizes, strict=True):
            plumbing.spoil(path, MIB, bytes_of(size) - 2 * MIB)
    return volume


PLACES = [
    {"memory": True},
    *(
        [{}, {"lanes": "0"}, {"lanes": "8", "loop": True}, {"unit": "4KiB", "lanes": "1"}]
        * bool(SOAK)
    ),
]


@pytest.mark.parametrize("plan", PLACES, ids=lambda plan: "-".join(map(str, plan)) or "files")
def test_no_foreign_byte_is_seen_while_space_goes_from_hand_to_hand(make_volume, plan):
    volume = spoiled(make_volume, **plan).mount()
    counts, seen = crowds(volume, SECONDS)
    assert not seen
    assert len(counts) == 2
    for done in counts:
        assert {"reads", "race", "write_many", "verify"} <= set(done), "too little was tried"
    if not ON_HOST and (LANES or plan.get("lanes")) != "0":
        lanes = json.loads(volume.cli("stats", "--json", volume.mnt).stdout)["lanes"]
        assert min(lanes["reads"], lanes["writes"]) > 0, "all of it went another way"
