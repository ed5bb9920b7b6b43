# SPDX-License-Identifier: MIT
"""Other people's data is recognised, with libblkid and without it."""

import os
import shutil
import subprocess

import pytest

from iomapd.volume import signatures
from iomapd.volume.blkid import Signature
from iomapd.volume.signatures import find_signatures, wipe_signatures

SIZE = 320 << 20  # what mkfs.xfs asks for; sparse


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "m.img"
    path.touch()
    os.truncate(path, SIZE)
    return path


@pytest.fixture
def opened(image):
    fd = os.open(image, os.O_RDWR)
    yield fd
    os.close(fd)


def make(image, *command):
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]}")
    subprocess.run([*command, image], check=True, capture_output=True, timeout=60)


def names(fd):
    return [s.name for s in find_signatures(fd, SIZE)]


def test_an_empty_file_has_none(opened):
    assert find_signatures(opened, SIZE) == []
    os.ftruncate(opened, 0)
    assert find_signatures(opened, 0) == []


def test_random_bytes_have_none(opened):
    os.pwrite(opened, bytes(range(1, 256)) * 512, 0)
    assert find_signatures(opened, SIZE) == []


@pytest.mark.slow
@pytest.mark.parametrize("without_libblkid", [False, True])
@pytest.mark.parametrize(
    ("command", "name"),
    [(["mkfs.ext4", "-q"], "ext"), (["mkswap", "-q"], "swap"), (["mkfs.xfs", "-q"], "xfs"),
     (["mkfs.btrfs", "-q"], "btrfs"), (["mkfs.vfat"], "vfat")],
)  # fmt: skip
def test_file_systems_are_recognised_and_wiped(image, opened, command, name, without_libblkid,
                                               monkeypatch):  # fmt: skip
    make(image, *command)
    if without_libblkid:
        monkeypatch.setattr(signatures, "probe", lambda fd: None)
    found = find_signatures(opened, SIZE)
    assert any(s.name.startswith(name) for s in found)
    wipe_signatures(opened, image, found)
    assert find_signatures(opened, SIZE) == []


@pytest.mark.parametrize("entry", signatures._FIXED, ids=lambda e: f"{e[0]}-{e[1]}")
def test_every_row_of_the_table_is_found_and_only_once(opened, entry, monkeypatch):
    name, addr, magic = entry
    os.pwrite(opened, magic, addr)
    monkeypatch.setattr(signatures, "probe", lambda fd: None)
    assert find_signatures(opened, SIZE) == [Signature(name, addr, magic)]
    monkeypatch.setattr(signatures, "probe", lambda fd: [Signature("mine", addr, magic)])
    assert names(opened) == ["mine"]


@pytest.mark.parametrize("addr", [0, 4096, SIZE - 8192, SIZE - 65536])
def test_md_members_of_every_version_are_recognised(opened, addr):
    os.pwrite(opened, b"\xfc\x4e\x2b\xa9", addr)
    assert names(opened) == ["linux_raid_member"]


def test_a_partition_table_left_at_the_end_is_recognised(opened):
    os.pwrite(opened, b"EFI PART", SIZE - 512)
    assert names(opened) == ["gpt"]


def test_several_signatures_are_all_returned(image, opened):
    make(image, "mkswap", "-q")
    os.pwrite(opened, b"_BHRfS_M", 65600)
    assert names(opened) == ["swap", "btrfs"]


def test_two_weak_bytes_count_only_without_the_library(opened, monkeypatch):
    os.pwrite(opened, b"\x53\xef", 1080)
    monkeypatch.setattr(signatures, "probe", lambda fd: [])
    assert names(opened) == []
    monkeypatch.setattr(signatures, "probe", lambda fd: None)
    assert names(opened) == ["ext"]
