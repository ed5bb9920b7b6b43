# SPDX-License-Identifier: MIT
"""Holes read as zeros and cost nothing; st_blocks, du and df tell the truth."""

import os

import pytest

from tests.mounted import tagged
from tests.mounted.harness import ON_HOST

BLOCK = tagged.BLOCK
MIB = 1 << 20
VOLUME = {"members": 4, "sizes": ("48MiB",)}


def allocated(path):
    return os.stat(path).st_blocks * 512


def used(path):
    status = os.statvfs(path)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


def test_a_truncated_up_file_is_all_zeros_and_costs_nothing(workdir):
    path = workdir / "file"
    path.touch()
    os.truncate(path, 1 << 30)
    assert allocated(path) == 0
    with path.open("rb") as file:
        for pos in (0, 123 * MIB + 7, (1 << 30) - 4096):
            assert os.pread(file.fileno(), 4096, pos) == bytes(4096)


def test_an_island_in_a_hole_costs_about_itself(workdir):
    path = workdir / "file"
    with path.open("wb") as file:
        os.pwrite(file.fileno(), tagged.block(1, 512 * MIB), 512 * MIB)
    # A row of four 64 KiB units is the finest piece that a hole is filled with.
    assert BLOCK <= allocated(path) <= 256 << 10
    with path.open("rb") as file:
        data = os.pread(file.fileno(), 3 * BLOCK, 512 * MIB - BLOCK)
    assert data[:BLOCK] == bytes(BLOCK)
    tagged.check(data[BLOCK:], 1, pos=512 * MIB)


def test_islands_in_any_order_keep_zeros_between_them(workdir, shared_volume):
    path, step = workdir / "file", 300_000  # of no alignment whatever
    places = [7, 2, 11, 0, 5, 13, 1]
    with path.open("wb") as file:
        for place in places:
            os.pwrite(file.fileno(), bytes([place + 1]) * 1000, place * step)
    for _ in range(2):
        wanted = bytearray(13 * step + 1000)
        for place in places:
            wanted[place * step : place * step + 1000] = bytes([place + 1]) * 1000
        assert path.read_bytes() == wanted
        shared_volume.remount()


def test_a_dense_file_costs_its_size_after_the_last_close(workdir):
    path = workdir / "file"
    path.write_bytes(tagged.content(1, 4 * MIB))
    assert 4 * MIB <= allocated(path) <= 4 * MIB + 256 * 1024


@pytest.mark.parametrize("size", [1, 4096, 4097, 100_000, 3 * MIB + 1])
def test_small_files_do_not_cost_a_row(size, workdir):
    path = workdir / "file"
    path.write_bytes(b"x" * size)
    rounded = -(-size // BLOCK) * BLOCK
    # What is beyond the rounded size is at most the rest of one row.
    assert rounded <= allocated(path) <= rounded + (256 << 10 if size > 64 << 10 else 0)


def test_truncating_down_gives_space_back(workdir):
    path = workdir / "file"
    path.write_bytes(tagged.content(1, 8 * MIB))
    before = allocated(path)
    os.truncate(path, MIB)
    assert allocated(path) <= before - 6 * MIB
    tagged.check(path.read_bytes(), 1)
    os.truncate(path, 0)
    assert allocated(path) == 0


def test_bytes_beyond_a_lowered_size_never_come_back(workdir, shared_volume):
    path = workdir / "file"
    for cut in (1, 100, 4095, 4096, 70_000, 65_536):
        path.write_bytes(b"\xaa" * 200_000)
        os.truncate(path, cut)
        os.truncate(path, 300_000)
        assert path.read_bytes() == b"\xaa" * cut + bytes(300_000 - cut), f"cut at {cut}"
    shared_volume.remount()
    assert path.read_bytes() == b"\xaa" * 65_536 + bytes(300_000 - 65_536)


def test_du_and_df_agree(make_volume):
    volume = make_volume(members=3, sizes=("48MiB",))
    if ON_HOST:
        pytest.skip("the host's file system has other users")
    empty = used(volume.mnt)
    for number, size in enumerate((0, 10, 4096, 50_000, 700_000, 5 * MIB, 17 * MIB + 5)):
        with (volume.mnt / f"file{number}").open("wb") as file:
            file.write(bytes([number]) * size)
            os.fsync(file.fileno())
    with (volume.mnt / "sparse").open("wb") as file:
        os.pwrite(file.fileno(), b"island", 900 * MIB)
    volume.remount()
    total = sum(allocated(path) for path in volume.mnt.iterdir())
    assert used(volume.mnt) - empty == total


def test_the_size_that_info_gives_is_what_df_gives(shared_volume):
    space, status = shared_volume.info()["space"], os.statvfs(shared_volume.mnt)
    assert status.f_blocks * status.f_frsize == space["size"]
    members = shared_volume.info()["members"]
    assert sum(member["size"] for member in members) == space["size"]
    assert all(member["used"] <= member["size"] for member in members)
