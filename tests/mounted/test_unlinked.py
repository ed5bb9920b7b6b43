# SPDX-License-Identifier: MIT
"""A file without a name lives as long as somebody has it open, and not a moment of space longer."""

import contextlib
import os

from tests.mounted import tagged
from tests.mounted.harness import ON_HOST

CACHES = ("through", "kernel")
BLOCK = tagged.BLOCK


def used(path):
    status = os.statvfs(path)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


def sync_all(directory):
    """A durability point: space that was freed is free afterwards."""
    fd = os.open(directory, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def test_an_unlinked_open_file_is_read_written_and_truncated(workdir):
    path = workdir / "file"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, tagged.content(1, 8 * BLOCK), 0)
    path.unlink()
    assert os.fstat(fd).st_nlink == 0
    path.write_bytes(b"another file of the same name")
    os.pwrite(fd, tagged.content(1, 8 * BLOCK, 8 * BLOCK), 8 * BLOCK)
    os.fsync(fd)
    tagged.check(os.pread(fd, 16 * BLOCK, 0), 1)
    os.ftruncate(fd, 3 * BLOCK)
    os.fchmod(fd, 0o600)
    tagged.check(os.pread(fd, 16 * BLOCK, 0), 1)
    assert os.fstat(fd).st_size == 3 * BLOCK
    os.close(fd)
    assert path.read_bytes() == b"another file of the same name"


def test_an_unlinked_file_can_be_opened_again_through_proc(workdir):
    path = workdir / "file"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    os.write(fd, b"still here")
    path.unlink()
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
    os.close(fd)
    assert os.pread(again, 100, 0) == b"still here"
    os.close(again)


def test_a_replaced_open_file_lives_on(workdir):
    old, new = workdir / "old", workdir / "new"
    old.write_bytes(b"old bytes")
    new.write_bytes(b"new bytes")
    with old.open("rb") as file:
        os.rename(new, old)
        assert file.read() == b"old bytes"
        assert os.fstat(file.fileno()).st_nlink == 0
    assert old.read_bytes() == b"new bytes"


def test_a_removed_directory_that_is_open_is_empty_and_takes_no_names(workdir):
    directory = workdir / "dir"
    directory.mkdir()
    fd = os.open(directory, os.O_RDONLY)
    directory.rmdir()
    assert os.listdir(fd) == []
    try:
        os.close(os.open("name", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    except FileNotFoundError:
        pass
    else:
        raise AssertionError("a file was made in a directory that is gone")
    finally:
        os.close(fd)


def test_space_of_an_unlinked_file_comes_back_at_its_last_close(make_volume):
    volume = make_volume(members=2, sizes=("32MiB",))
    before = used(volume.mnt)
    path = volume.mnt / "file"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    os.write(fd, bytes(16 << 20))
    os.fsync(fd)
    path.unlink()
    sync_all(volume.mnt)
    held = used(volume.mnt)
    os.close(fd)
    if ON_HOST:  # not alone on the host's file system
        return
    assert held - before >= 16 << 20, "the space of an open file was given away"
    # RELEASE and FORGET come after close(2) has returned.
    assert eventually_used(volume.mnt, before), f"{used(volume.mnt) - before} bytes are not back"


def eventually_used(mnt, wanted, tries=200):
    """Whether *wanted* bytes are in use after a number of durability points."""
    for _ in range(tries):
        sync_all(mnt)
        if used(mnt) == wanted:
            return True
    return False


def test_orphans_of_a_crash_are_gone_after_the_next_mount(make_volume):
    volume = make_volume(members=2, sizes=("32MiB",))
    before = used(volume.mnt)
    path, kept = volume.mnt / "file", volume.mnt / "kept"
    kept.write_bytes(tagged.content(2, 10 * BLOCK))
    with kept.open("rb") as file:
        os.fsync(file.fileno())
    after_kept = used(volume.mnt)
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    os.write(fd, tagged.content(1, 4 << 20))
    os.fsync(fd)
    path.unlink()
    sync_all(volume.mnt)
    volume.kill9()
    with contextlib.suppress(OSError):  # its server is dead
        os.close(fd)
    volume.mount()
    assert os.listdir(volume.mnt) == ["kept"]
    tagged.check(kept.read_bytes(), 2)
    if not ON_HOST:
        assert used(volume.mnt) <= after_kept
        kept.unlink()
        assert eventually_used(volume.mnt, before)


def test_orphans_of_an_unmount_with_open_files_are_gone(make_volume):
    volume = make_volume(members=2, sizes=("32MiB",))
    before = used(volume.mnt)
    for round_ in range(2):
        with (volume.mnt / "file").open("wb") as file:
            file.write(tagged.content(round_, 64 * BLOCK))
            (volume.mnt / "file").unlink()
        volume.remount()
        assert os.listdir(volume.mnt) == []
    if not ON_HOST:
        assert used(volume.mnt) == before
