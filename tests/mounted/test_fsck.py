# SPDX-License-Identifier: MIT
"""A volume is clean by fsck's own judgement: while it works, after it, and after a crash."""

import contextlib
import json
import os

import pytest

from tests.mounted.harness import ON_HOST

pytestmark = pytest.mark.skipif(ON_HOST, reason="the host's file system has an fsck of its own")


@pytest.fixture
def volume(make_volume):
    return make_volume(members=3)


def fsck(volume, status=0):
    done = volume.cli("fsck", "--json", volume.layout, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return json.loads(done.stdout)


def use(directory):
    """Some of everything: sizes around the unit, holes, links, names gone, a file kept open."""
    for number in range(40):
        (directory / f"f{number}").write_bytes(os.urandom(number * 7001))
    with (directory / "sparse").open("wb") as file:
        file.truncate(1 << 30)
        file.seek(300 << 20)
        file.write(b"x" * 10000)
    (directory / "d" / "e").mkdir(parents=True)
    (directory / "d" / "link").hardlink_to(directory / "f7")
    (directory / "d" / "symlink").symlink_to("../f7")
    os.setxattr(directory / "f8", "user.a", b"b")
    for number in range(0, 40, 3):
        (directory / f"f{number}").unlink()
    os.truncate(directory / "f38", 5000)
    (directory / "f37").rename(directory / "f38")


def test_a_volume_is_clean_mounted_unmounted_and_mounted_again(volume):
    use(volume.mnt)
    body = fsck(volume)
    assert (body["mounted"], body["findings"]) == (True, [])
    volume.umount()
    body = fsck(volume)
    assert (body["mounted"], body["findings"]) == (False, [])
    volume.mount()
    assert fsck(volume)["clean"]


def test_a_killed_server_leaves_a_clean_volume(volume):
    use(volume.mnt)
    kept = (volume.mnt / "f1").open("rb")
    (volume.mnt / "f1").unlink()
    volume.kill9()
    with contextlib.suppress(OSError):
        kept.close()  # its server is gone
    assert fsck(volume)["findings"] == []
    volume.mount()
    assert fsck(volume)["findings"] == []


def test_freed_space_is_seen_as_free(volume):
    before = fsck(volume)["space"]["used"]
    (volume.mnt / "big").write_bytes(os.urandom(8 << 20))
    assert fsck(volume)["space"]["used"] >= before + (8 << 20)
    (volume.mnt / "big").unlink()
    assert fsck(volume)["space"]["used"] == before
