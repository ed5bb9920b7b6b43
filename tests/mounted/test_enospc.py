# SPDX-License-Identifier: MIT
"""A full volume: exact, harmless to what is there, and empty again when it is emptied."""

import errno
import os
import subprocess

import pytest

from tests.mounted import syscalls, tagged, worker
from tests.mounted.harness import CACHE, ON_HOST, soak

BLOCK = tagged.BLOCK
pytestmark = [
    pytest.mark.skipif(ON_HOST, reason="would fill the host"),
    pytest.mark.skipif(CACHE == "kernel", reason="fsync is told, write(2) is not"),
]


def statfs(volume):
    """statvfs after a durability point: what was freed before is free then."""
    fd = os.open(volume.mnt, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    return os.statvfs(volume.mnt)


def fill(volume, writers, first):
    """Fill the volume by processes side by side; {path: bytes that were acknowledged}."""
    jobs = {
        volume.mnt / f"fill{number}": worker.start("fill", volume.mnt / f"fill{number}", number)
        for number in range(first, first + writers)
    }
    lengths = {}
    for path, job in jobs.items():
        output, _ = job.communicate(timeout=90)
        assert job.returncode == 0, path
        lengths[path] = int(output)
    return lengths


def check(lengths):
    for path, length in lengths.items():
        data = path.read_bytes()
        assert len(data) >= length
        tagged.check(data[:length], int(path.name[4:]))


@pytest.mark.parametrize("sizes", [("9MiB",), ("4MiB", "16MiB", "7MiB")], ids=["equal", "unequal"])
def test_fill_empty_and_fill_again(sizes, make_volume):
    volume = make_volume(members=3, sizes=sizes)
    survivor = volume.mnt / "survivor"
    with survivor.open("wb") as file:
        file.write(tagged.content(99, 300 * BLOCK))
        os.fsync(file.fileno())
    volume.remount()
    at_first = statfs(volume)
    totals = []
    for round_ in range(soak(2, 5)):
        lengths = fill(volume, 4, first=round_ * 10)
        totals.append(sum(lengths.values()))
        check(lengths)
        assert statfs(volume).f_bavail == 0, "ENOSPC with space left"
        tagged.check(survivor.read_bytes(), 99)
        volume.remount()
        check(lengths)
        for path in lengths:
            path.unlink()
        volume.remount()
        assert statfs(volume).f_bfree == at_first.f_bfree, "space did not come back"
    free = at_first.f_bfree * BLOCK
    # What four files could not use is less than a block each.
    assert all(free - 4 * BLOCK <= total <= free for total in totals), (free, totals)
    tagged.check(survivor.read_bytes(), 99)


def test_a_full_volume_still_deletes_renames_and_truncates(make_volume):
    volume = make_volume(members=2, sizes=("8MiB",))
    lengths = fill(volume, 2, first=0)
    first, second = lengths
    os.rename(first, volume.mnt / "renamed")
    (volume.mnt / "directory").mkdir()
    (volume.mnt / "empty").touch()
    os.truncate(second, lengths[second] // 2 // BLOCK * BLOCK)
    statfs(volume)
    with (volume.mnt / "fits-again").open("wb") as file:
        file.write(tagged.content(5, lengths[second] // 4))
        os.fsync(file.fileno())
    tagged.check((volume.mnt / "fits-again").read_bytes(), 5)
    tagged.check(second.read_bytes(), 1)
    tagged.check((volume.mnt / "renamed").read_bytes(), 0)


def test_overwriting_needs_no_space(make_volume):
    volume = make_volume(members=2, sizes=("8MiB",))
    path = volume.mnt / "file"
    path.write_bytes(tagged.content(1, 512 * BLOCK))
    fill(volume, 1, first=7)
    fd = os.open(path, os.O_WRONLY | os.O_DIRECT)
    for pos in range(0, 512 * BLOCK, 32 * BLOCK):
        syscalls.direct_write(fd, tagged.content(1, 32 * BLOCK, pos, 1), pos)
    os.close(fd)
    assert tagged.check(path.read_bytes(), 1) == [1] * 512


def fits(path, data):
    """Write a new file; False when the volume says that it is full."""
    try:
        path.write_bytes(data)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return False
        raise
    return True


def test_small_files_use_the_last_block(make_volume):
    volume = make_volume(members=3, sizes=("2500KiB",))
    free = statfs(volume).f_bfree
    files = (volume.mnt / f"f{number}" for number in range(free + 1))
    made = sum(fits(path, tagged.block(number, 0)) for number, path in enumerate(files))
    assert made == free
    for number in range(made):
        tagged.check((volume.mnt / f"f{number}").read_bytes(), number)


def test_what_fallocate_less_programs_do_on_a_full_volume(make_volume):
    """dd and cp report ENOSPC instead of success, and leave a prefix."""
    volume = make_volume(members=2, sizes=("4MiB",))
    done = subprocess.run(
        ["dd", "if=/dev/zero", f"of={volume.mnt}/file", "bs=1M", "count=64", "conv=fsync"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert not any((volume.mnt / "file").read_bytes())
