# SPDX-License-Identifier: MIT
"""statfs tells the truth about names, blocks and space."""

import os

import pytest

from tests.mounted import plumbing, tagged
from tests.mounted.harness import ON_HOST


def test_names_may_have_255_bytes(shared_volume):
    assert os.statvfs(shared_volume.mnt).f_namemax == 255
    assert os.pathconf(shared_volume.mnt, "PC_NAME_MAX") == 255


def test_blocks_are_of_4_kib(shared_volume):
    status = os.statvfs(shared_volume.mnt)
    assert status.f_frsize == 4096
    assert status.f_bsize % 4096 == 0
    assert status.f_bavail <= status.f_bfree <= status.f_blocks


@pytest.mark.skipif(ON_HOST, reason="not alone on the host's file system")
def test_space_goes_with_a_file_and_comes_back_with_it(shared_volume, workdir):
    def free():
        fd = os.open(workdir, os.O_RDONLY)
        os.fsync(fd)  # a durability point: freed space is free after it
        os.close(fd)
        return os.statvfs(workdir).f_bfree * 4096

    before = free()
    path = workdir / "file"
    with path.open("wb") as file:
        file.write(tagged.content(1, 10 << 20))
        os.fsync(file.fileno())
    shared_volume.remount()
    assert before - free() == path.stat().st_blocks * 512
    path.unlink()
    shared_volume.remount()
    assert free() == before


@pytest.mark.skipif(ON_HOST, reason="a property of iomapd's mounts")
def test_the_mount_is_listed_as_iomapd(shared_volume):
    (entry,) = plumbing.fuse_mounts_under(shared_volume.mnt)
    assert entry.fstype == "fuse.iomapd"
