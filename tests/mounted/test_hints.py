# SPDX-License-Identifier: MIT
"""Hints on a mount: what a program wants known is no miss, what it wants forgotten is one."""

import collections
import contextlib
import json
import mmap
import os
from pathlib import Path

import pytest

from tests.mounted import tagged
from tests.mounted.harness import ON_HOST
from tests.mounted.test_migrate import Crew

pytestmark = pytest.mark.skipif(ON_HOST, reason="the host's file system has no programs")
UNIT = 64 << 10
SIZE = 8 << 20
RAID0 = (Path(__file__).parents[2] / "programs/raid0.py").read_text()
BEHIND = RAID0.replace("    return", "    ctx.invalidate_length = ctx.pos\n    return")
LYING = RAID0.replace(
    "    return",
    "    ctx.upsert_pos = ctx.pos + ctx.length\n    ctx.upsert_length = 4096\n    return",
)

# True, false and senseless hints by turns, as the position has it.
WILD = RAID0.replace(
    "    return",
    """
    dice = (unit_index + 1) * 2654435761
    dice ^= dice >> 13
    ctx.invalidate_pos = (dice & 127) * 32768
    ctx.invalidate_length = (dice >> 7 & 31) * 65536
    other = dice >> 3 & 127
    ctx.upsert_pos = other * ctx.unit
    ctx.upsert_strip = other % ctx.nr_strips
    ctx.upsert_addr = other // ctx.nr_strips * ctx.unit
    ctx.upsert_length = ctx.unit
    if dice & 3 == 0:
        ctx.upsert_addr += (dice >> 9 & 3) * 4096
        ctx.upsert_length = dice
    return""",
)


@pytest.fixture(params=["0", "2"], ids=["without lanes", "with lanes"])
def volume(request, make_volume):
    return make_volume(members=4, unit="64KiB", memory=True, lanes=request.param)


def filled(volume, program, name):
    """A file under *program* that nobody has looked at since the mount."""
    volume.cli("layout", "set", volume.mnt, "--program", program)
    path = volume.mnt / name
    with path.open("wb") as file:
        # Space for all of it: a file that grows begins with an extent that asks no program.
        os.posix_fallocate(file.fileno(), 0, SIZE)
        file.write(tagged.content(1, SIZE))
    return path


def stats(volume):
    return json.loads(volume.cli("stats", "--json", volume.mnt).stdout)


def hints_of(volume):
    """What was done with the hints of the one program that leaves any."""
    (counts,) = stats(volume)["programs"]["hints"].values() or [collections.Counter()]
    return counts


def upcalls(volume):
    return stats(volume)["mapper"]["upcalls"]


@contextlib.contextmanager
def uncached(path):
    """Reads that no page cache answers: a function of the number of a unit."""
    fd, page = os.open(path, os.O_RDONLY | os.O_DIRECT), mmap.mmap(-1, 4096)

    def read(unit):
        assert os.preadv(fd, [page], unit * UNIT) == 4096
        return bytes(page)

    try:
        yield read
    finally:
        os.close(fd)


def test_an_upsert_saves_the_miss_of_the_units_behind(volume):
    plain, hinted = filled(volume, "raid0", "plain"), filled(volume, "readahead", "hinted")
    volume.remount("mapper=cache")
    costs = []
    for path in (plain, hinted):
        before = upcalls(volume)
        with uncached(path) as read:
            for unit in range(SIZE // UNIT):
                read(unit)
        costs.append(upcalls(volume) - before)
        tagged.check(path.read_bytes(), 1)
    assert costs == [SIZE // UNIT, SIZE // UNIT // 32]
    counts = hints_of(volume)
    assert counts["upserts"] == (SIZE // UNIT) - costs[1]
    assert counts["refused"] == 0


def test_an_invalidation_makes_a_new_miss(volume, tmp_path):
    mine = tmp_path / "behind.py"
    mine.write_text(BEHIND)
    path = filled(volume, mine, "f")
    volume.remount("mapper=cache")
    with uncached(path) as read:
        start = upcalls(volume)
        asked = []
        for unit in (0, 0, 40, 0, 40):
            read(unit)
            asked.append(upcalls(volume) - start)
    assert asked == [1, 1, 2, 3, 3], "unit 40 forgets unit 0, not the other way round"
    tagged.check(path.read_bytes(), 1)


def test_lies_are_told_once_and_cost_nothing_but_themselves(volume, tmp_path):
    mine = tmp_path / "lying.py"
    mine.write_text(LYING)
    path = filled(volume, mine, "f")
    volume.remount("mapper=cache")
    volume.expect_log(r"WARNING.*program lying@\w+: a hint is refused")
    tagged.check(path.read_bytes(), 1)
    tagged.check(volume.mapped_bytes(path), 1)
    counts = hints_of(volume)
    assert counts["refused"] > SIZE // UNIT // 2
    shown = volume.cli("program", "stats", volume.mnt).stdout
    assert "hints refused" in shown
    assert volume.log.read_text().count("a hint is refused") == 1


def test_readers_and_writers_notice_nothing_of_wild_hints(volume, tmp_path):
    mine = tmp_path / "wild.py"
    mine.write_text(WILD)
    path = filled(volume, mine, "f")
    volume.remount("mapper=cache")
    volume.expect_log(r"WARNING.*program wild@\w+: a hint is refused")
    counts = hints_of(volume)
    with Crew(path, SIZE) as crew:
        while not crew.faults and min(counts["upserts"], counts["invalidations"]) < 300:
            counts = hints_of(volume)
    crew.check(path.read_bytes())
    crew.check(volume.mapped_bytes(path))
    assert counts["refused"] > 0


def test_other_strategies_look_at_no_hint(volume):
    path = filled(volume, "readahead", "f")
    for strategy in ("program", "record", "upcall"):
        volume.remount(f"mapper={strategy}")
        tagged.check(path.read_bytes(), 1)
        assert stats(volume)["programs"]["hints"] == {}
