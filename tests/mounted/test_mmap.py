# SPDX-License-Identifier: MIT
"""Shared mappings: what one process maps and writes, all others read."""

import mmap
import os
import subprocess
import sys

from tests.mounted import syscalls, tagged

BLOCK = tagged.BLOCK

FLIP = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
with mmap.mmap(fd, 0) as mapped:
    for pos in range(0, len(mapped), 4096):
        mapped[pos] ^= 0xff
    mapped.flush()
"""


def test_two_processes_share_a_mapping(workdir):
    path = workdir / "file"
    path.write_bytes(bytes(64 * BLOCK))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[1] = 7
        subprocess.run([sys.executable, "-I", "-c", FLIP, path], check=True, timeout=60)
        assert all(mapped[pos] == 0xFF for pos in range(0, 64 * BLOCK, BLOCK))
        assert mapped[1] == 7


def test_msync_makes_mapped_bytes_visible_to_direct_reads(workdir, shared_volume):
    path = workdir / "file"
    path.write_bytes(tagged.content(1, 32 * BLOCK))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[5 * BLOCK : 6 * BLOCK] = tagged.block(1, 5 * BLOCK, 9)
        mapped.flush()
        fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
        assert tagged.read_tag(syscalls.direct_read(fd, BLOCK, 5 * BLOCK)).round == 9
        os.close(fd)
    shared_volume.remount()
    assert tagged.check(path.read_bytes(), 1) == [0] * 5 + [9] + [0] * 26


def test_a_direct_write_reaches_a_mapping(workdir):
    path = workdir / "file"
    path.write_bytes(tagged.content(1, 16 * BLOCK))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert tagged.read_tag(mapped[3 * BLOCK : 4 * BLOCK]).round == 0
        fd = os.open(path, os.O_WRONLY | os.O_DIRECT)
        syscalls.direct_write(fd, tagged.block(1, 3 * BLOCK, 4), 3 * BLOCK)
        os.close(fd)
        assert tagged.read_tag(mapped[3 * BLOCK : 4 * BLOCK]).round == 4


def test_mapped_bytes_of_a_hole_become_data(workdir, shared_volume):
    path = workdir / "file"
    path.touch()
    os.truncate(path, 3 << 20)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        for pos in (0, 1 << 20, (3 << 20) - BLOCK):
            mapped[pos : pos + BLOCK] = tagged.block(1, pos)
        # Not flushed: closing the mapping and unmounting writes back.
    shared_volume.remount()
    rounds = tagged.check(path.read_bytes(), 1, holes=True)
    assert [i for i, round_ in enumerate(rounds) if round_ == 0] == [0, 256, 767]


def test_a_private_mapping_keeps_its_changes_to_itself(workdir):
    path = workdir / "file"
    path.write_bytes(tagged.content(1, 4 * BLOCK))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        mapped[:BLOCK] = bytes(BLOCK)
    tagged.check(path.read_bytes(), 1)
