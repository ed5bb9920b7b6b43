# SPDX-License-Identifier: MIT
"""`iomapd map` tells the truth: the members hold the file's bytes exactly there."""

import os
from collections import Counter

import pytest

from tests.mounted import tagged
from tests.mounted.harness import SOAK

BLOCK, MIB = tagged.BLOCK, 1 << 20
# A soak run does it with a GiB.
SCALE = 44 if SOAK else 1


def mib(*sizes):
    return tuple(f"{size * SCALE}MiB" for size in sizes)


GEOMETRIES = {
    "one-member": {"members": 1, "sizes": mib(60)},
    "three-equal": {"members": 3, "sizes": mib(20)},
    "five-unequal": {"members": 5, "sizes": mib(3, 16, 7, 12, 9)},
    "four-of-4KiB": {"members": 4, "unit": "4KiB", "sizes": mib(20)},
    "four-of-1MiB-on-loops": {"members": 4, "unit": "1MiB", "sizes": mib(20), "loop": True},
}


def check_form(answer, size):
    """The promises of the format: ordered, without overlap; what it leaves out is a hole."""
    assert (answer["schema"], answer["version"], answer["size"]) == ("iomapd.map", 1, size)
    end = 0
    for piece in answer["extents"]:
        assert piece["offset"] >= end, "pieces overlap or are out of order"
        assert piece["length"] > 0
        end = piece["offset"] + piece["length"]
        assert ("address" in piece) == (piece["type"] in ("mapped", "unwritten"))


def is_dense(answer):
    """Whether every byte below the size is mapped; space beyond it is not written yet."""
    inside = [piece for piece in answer["extents"] if piece["offset"] < answer["size"]]
    # Below the end of the last block, that is: a block is written as a whole.
    assert sum(piece["length"] for piece in inside) >= answer["size"]
    return {piece["type"] for piece in inside} == {"mapped"}


def places(answer):
    """(member, block address) of every mapped block."""
    return [
        (piece["member"], address)
        for piece in answer["extents"]
        if "address" in piece
        for address in range(piece["address"], piece["address"] + piece["length"], BLOCK)
    ]


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_the_members_hold_the_file_where_map_says(geometry, make_volume):
    volume = make_volume(**GEOMETRIES[geometry])
    path, size = volume.mnt / "file", 24 * SCALE * MIB + 12345
    with path.open("wb") as file:
        # An odd number of odd pieces: extents are made while the file grows.
        for pos in range(0, size, 7 * BLOCK * 13):
            file.write(tagged.content(1, min(7 * BLOCK * 13, size - pos), pos))
    answer = volume.map(path)
    check_form(answer, size)
    assert is_dense(answer)
    tagged.check(volume.mapped_bytes(path), 1)
    volume.remount()
    assert volume.map(path)["extents"] == answer["extents"]
    tagged.check(path.read_bytes(), 1)


def test_a_large_file_lies_on_all_members_alike(make_volume):
    volume = make_volume(members=4, sizes=("32MiB",))
    path = volume.mnt / "file"
    path.write_bytes(tagged.content(1, 16 * MIB))
    per_member = Counter(member for member, _ in places(volume.map(path)))
    assert per_member.keys() == {0, 1, 2, 3}
    assert max(per_member.values()) - min(per_member.values()) <= 64, per_member


def test_no_two_files_share_a_block(make_volume):
    volume = make_volume(members=3, sizes=("32MiB",))
    for number in range(9):
        (volume.mnt / f"f{number}").write_bytes(tagged.content(number, (1 + number * 27) * BLOCK))
    for number in range(0, 9, 3):
        (volume.mnt / f"f{number}").unlink()
    for number in range(9, 14):
        (volume.mnt / f"f{number}").write_bytes(tagged.content(number, number * 17 * BLOCK))
    everything = Counter()
    for path in volume.mnt.iterdir():
        everything.update(places(volume.map(path)))
        tagged.check(volume.mapped_bytes(path), int(path.name[1:]))
    shared = [place for place, times in everything.items() if times > 1]
    assert not shared, f"blocks with two owners: {shared[:5]}"


def test_holes_are_called_holes(make_volume):
    volume = make_volume(members=3, sizes=("32MiB",))
    path = volume.mnt / "file"
    with path.open("wb") as file:
        os.pwrite(file.fileno(), tagged.content(1, 5 * BLOCK, 200 * MIB), 200 * MIB)
        os.truncate(file.fileno(), 300 * MIB)
    answer = volume.map(path)
    check_form(answer, 300 * MIB)
    mapped = [p for p in answer["extents"] if p["type"] == "mapped"]
    assert sum(p["length"] for p in mapped) == 5 * BLOCK
    assert mapped[0]["offset"] == 200 * MIB
    (volume.mnt / "empty").touch()
    assert volume.map(volume.mnt / "empty")["extents"] == []


def test_a_file_nobody_synced_is_durable_when_map_answers(make_volume):
    volume = make_volume(members=2, sizes=("32MiB",))
    path = volume.mnt / "file"
    path.write_bytes(tagged.content(1, 100 * BLOCK))
    tagged.check(volume.mapped_bytes(path), 1)
    volume.crash_and_mount()
    tagged.check(path.read_bytes(), 1)


def test_map_refuses_what_is_no_file_of_a_mount(make_volume, tmp_path):
    volume = make_volume(members=1)
    (tmp_path / "elsewhere").touch()
    for path in (tmp_path / "elsewhere", volume.mnt / "missing", volume.mnt):
        done = volume.cli("map", "--json", path, check=False)
        assert done.returncode in (1, 2)
        assert len(done.stderr.strip().splitlines()) == 1
        assert str(path) in done.stderr
        assert done.stdout == ""
