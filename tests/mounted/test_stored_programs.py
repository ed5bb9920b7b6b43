# SPDX-License-Identifier: MIT
"""The mapping is part of the volume: an upgraded or edited program moves no byte of old files."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mounted import tagged
from tests.mounted.harness import ON_HOST

pytestmark = pytest.mark.skipif(ON_HOST, reason="the host's file system has no programs")
MIB = 1 << 20
ROOT = Path(__file__).parents[2]
STRATEGIES = ["program", "cache", "upcall"]


def upgraded(base):
    """A copy of the package whose shipped programs map otherwise than ours."""
    for room in ("iomapd", "programs", "devices"):
        shutil.copytree(ROOT / room, base / room, ignore=shutil.ignore_patterns("__pycache__"))
    text = (base / "programs/raid0.py").read_text()
    old = "ctx.strip = unit_index - row * ctx.nr_strips"
    assert old in text
    new = "ctx.strip = ctx.nr_strips - 1 - (unit_index - row * ctx.nr_strips)"
    (base / "programs/raid0.py").write_text(text.replace(old, new))
    (base / "programs/reverse.py").write_text(text.replace('"""RAID0', '"""Was reverse'))
    return base


def run_of(package, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "iomapd", *map(str, arguments)],
        cwd=package,
        env={**os.environ, "PYTHONPATH": str(package)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def test_an_upgrade_of_the_shipped_programs_leaves_old_files_right(make_volume, tmp_path):
    volume = make_volume(members=4, unit="64KiB")
    (volume.mnt / "d").mkdir()
    volume.cli("layout", "set", volume.mnt / "d", "--program", "reverse")
    paths = [volume.mnt / "a", volume.mnt / "d/b"]
    for number, path in enumerate(paths):
        path.write_bytes(tagged.content(number, 8 * MIB))
    volume.umount()
    package = upgraded(tmp_path / "upgraded")
    run_of(package, "mount", volume.layout, volume.mnt)
    try:
        for number, path in enumerate(paths):
            tagged.check(path.read_bytes(), number)
        told = run_of(package, "info", volume.mnt)
        assert "raid0: the shipped file of this name differs" in told
        (volume.mnt / "d/new").write_bytes(tagged.content(7, 8 * MIB))
    finally:
        run_of(package, "umount", volume.mnt)
    volume.mount()
    for number, path in [*enumerate(paths), (7, volume.mnt / "d/new")]:
        tagged.check(path.read_bytes(), number)
        tagged.check(volume.mapped_bytes(path), number)


def test_an_edited_file_of_ones_own_is_a_new_program_for_new_files(make_volume, tmp_path):
    # Ends are told on the slow path; lanes tell none.
    volume = make_volume(members=3, unit="64KiB", lanes="0")
    mine = tmp_path / "mine.py"
    text = (ROOT / "programs/raid0.py").read_text()
    mine.write_text(text)
    volume.cli("layout", "set", volume.mnt, "--program", mine)
    (volume.mnt / "old").write_bytes(tagged.content(1, 6 * MIB))
    mine.write_text(
        text.replace("unit_index - row * ctx.nr_strips", "(unit_index + row) % ctx.nr_strips")
    )
    volume.cli("layout", "set", volume.mnt, "--program", mine)
    (volume.mnt / "new").write_bytes(tagged.content(2, 6 * MIB))
    mine.unlink()
    for strategy in STRATEGIES:
        volume.remount(f"mapper={strategy}")
        digests = set()
        for number, name in ((1, "old"), (2, "new")):
            tagged.check((volume.mnt / name).read_bytes(), number)
            tagged.check(volume.mapped_bytes(volume.mnt / name), number)
            digests.add(volume.map(volume.mnt / name)["extents"][0]["sha256"])
        assert len(digests) == 2


def test_the_built_in_formula_refuses_by_name_what_maps_otherwise(make_volume):
    volume = make_volume(members=3, unit="64KiB")
    volume.remount("mapper=record")
    (volume.mnt / "f").write_bytes(tagged.content(1, 6 * MIB))
    refused = volume.cli("layout", "set", volume.mnt, "--program", "reverse", check=False)
    assert refused.returncode == 1
    assert "mapper=record" in refused.stderr
    volume.remount("mapper=program")
    tagged.check((volume.mnt / "f").read_bytes(), 1)
    volume.cli("layout", "set", volume.mnt, "--program", "reverse")
    volume.umount()
    refused = volume.cli("mount", "-o", "mapper=record", volume.layout, volume.mnt, check=False)
    assert refused.returncode == 1
    assert "program reverse" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_counters_of_a_program_are_shown(make_volume, tmp_path):
    # Ends are told on the slow path; lanes tell none.
    volume = make_volume(members=3, unit="64KiB", lanes="0")
    mine = tmp_path / "mine.py"
    text = (ROOT / "programs/raid0.py").read_text()
    counting = 'COUNTERS = ("writes",)\n\n\ndef iomap_begin'
    ends = """

def iomap_end(ctx):
    if ctx.opflags == 1:
        ctx.writes = 1
    return HANDLED
"""
    mine.write_text(text.replace("def iomap_begin", counting) + ends)
    volume.cli("layout", "set", volume.mnt, "--program", mine)
    (volume.mnt / "f").write_bytes(tagged.content(1, 4 * MIB))
    shown = volume.cli("program", "stats", volume.mnt).stdout
    assert "by programs" in shown
    counted = json.loads(volume.cli("program", "stats", "--json", volume.mnt).stdout)
    ((name, counters),) = counted["counters"].items()
    assert name.startswith("mine@")
    assert counters["writes"] > 0
    assert counted["proofs"] > 0
