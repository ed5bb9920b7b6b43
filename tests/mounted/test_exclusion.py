# SPDX-License-Identifier: MIT
"""One volume, one server: a second mount is refused by name, and leaves the first alone."""

import shutil

import pytest

from tests.mounted import plumbing, tagged
from tests.mounted.harness import ON_HOST

pytestmark = pytest.mark.skipif(ON_HOST, reason="no volume to hold")


@pytest.fixture
def volume(make_volume):
    """A mounted volume with one file."""
    volume = make_volume(members=3, sizes=("16MiB",))
    (volume.mnt / "file").write_bytes(tagged.content(1, 64 * tagged.BLOCK))
    return volume


def refused(volume, *arguments):
    """The one line with which a command is refused."""
    done = volume.cli(*arguments, check=False)
    assert done.returncode in (1, 2), done.stdout
    (line,) = done.stderr.strip().splitlines()
    return line


def still_works(volume):
    tagged.check((volume.mnt / "file").read_bytes(), 1)
    (volume.mnt / "another").write_bytes(b"x")
    (volume.mnt / "another").unlink()


def test_a_second_mount_is_refused_and_told_who_holds_the_volume(volume):
    other = volume.base / "other"
    other.mkdir()
    line = refused(volume, "mount", volume.layout, other)
    assert str(volume.server_pid()) in line or str(volume.mnt) in line, line
    still_works(volume)


def test_a_mount_on_the_same_mountpoint_is_refused(volume):
    line = refused(volume, "mount", volume.layout, volume.mnt)
    assert str(volume.mnt) in line or str(volume.layout) in line or "test" in line
    still_works(volume)


def test_a_copied_layout_and_store_do_not_get_round_the_exclusion(volume):
    copy, other = volume.base / "copy.toml", volume.base / "other"
    other.mkdir()
    shutil.copy(volume.store, volume.base / "copy.db")
    copy.write_text(volume.layout_text().replace("volume.db", "copy.db"))
    line = refused(volume, "mount", copy, other)
    assert any(str(path) in line for path in (*volume.members, copy, volume.base / "copy.db")), line
    still_works(volume)


def test_create_over_a_mounted_volume_is_refused(volume):
    for options in ((), ("--force",)):
        refused(volume, "create", volume.layout, *options)
        still_works(volume)
    volume.remount()
    still_works(volume)


def test_members_inside_the_mountpoint_are_refused(make_volume):
    volume = make_volume(members=2, sizes=("16MiB",), mounted=False)
    inside = volume.base / "inside"
    inside.mkdir()
    for path in volume.backing:
        shutil.move(path, inside / path.name)
    moved = volume.base / "moved.toml"
    moved.write_text(volume.layout_text().replace(str(volume.base), str(inside)))
    line = refused(volume, "mount", moved, inside)
    assert str(inside) in line
    for path in volume.backing:
        shutil.move(inside / path.name, path)


def test_the_next_mount_waits_for_a_server_that_is_just_finishing(volume):
    """umount(8) returns before the server's last commit; mount must not fail for that."""
    for round_ in range(3):
        (volume.mnt / f"new{round_}").write_bytes(tagged.content(round_, 200 * tagged.BLOCK))
        plumbing.detach_mount(str(volume.mnt))
        volume.mount()
        tagged.check((volume.mnt / f"new{round_}").read_bytes(), round_)
    still_works(volume)
