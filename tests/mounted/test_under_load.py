# SPDX-License-Identifier: MIT
"""Unmounting a busy volume: refused, forced or by signal, it loses no promise and never hangs."""

import os

import pytest

from tests.mounted import plumbing, tagged, worker
from tests.mounted.harness import ON_HOST

pytestmark = pytest.mark.skipif(ON_HOST, reason="the host's file system stays mounted")
BLOCK = tagged.BLOCK


@pytest.fixture
def busy_volume(make_volume):
    """A volume and two writers that have begun."""
    volume = make_volume(members=3, sizes=("96MiB",))
    jobs = [worker.start("promise", volume.mnt, first, 30) for first in (0, 5000)]
    said = [[job.stdout.readline() for _ in range(5)] for job in jobs]
    yield volume, jobs, said
    for job in jobs:
        job.kill()
        job.communicate(timeout=60)


def promises(jobs, said):
    """{number: length} of everything the writers were promised until they ended."""
    found = {}
    for job, lines in zip(jobs, said, strict=True):
        text, _ = job.communicate(timeout=60)
        for line in [*lines, *text.splitlines()]:
            if len(line.split()) == 2:
                number, length = map(int, line.split())
                found[number] = length
    assert found
    return found


def check_promises(volume, jobs, said):
    for number, length in promises(jobs, said).items():
        data = (volume.mnt / str(number)).read_bytes()
        assert len(data) == length
        tagged.check(data, number)


def test_umount_of_a_busy_mount_is_refused_in_a_line_and_disturbs_nobody(busy_volume):
    volume, jobs, said = busy_volume
    done = volume.umount(check=False)
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert str(volume.mnt) in line
    for job, lines in zip(jobs, said, strict=True):
        lines.append(job.stdout.readline())  # they go on
        assert lines[-1].endswith("\n")
        job.terminate()
    check_promises(volume, jobs, said)
    volume.remount()


def test_sigterm_ends_a_busy_mount_and_keeps_every_promise(busy_volume):
    volume, jobs, said = busy_volume
    volume.expect_log("still in use")
    volume.terminate()
    assert plumbing.wait_for_mounts(lambda: not volume.is_mounted(), 20)
    volume.mount()
    check_promises(volume, jobs, said)


def test_a_lazy_umount_under_load_ends_when_the_last_writer_does(busy_volume):
    volume, jobs, said = busy_volume
    pid = volume.server_pid()
    plumbing.detach_mount(str(volume.mnt))
    for job in jobs:
        job.terminate()
    found = promises(jobs, said)
    assert plumbing.wait_for_exit(pid, 30), "the server outlives its mount"
    volume.mount()
    for number, length in found.items():
        data = (volume.mnt / str(number)).read_bytes()
        assert len(data) == length
        tagged.check(data, number)


def test_an_aborted_connection_ends_the_server_and_the_volume_mounts_again(busy_volume):
    volume, jobs, said = busy_volume
    pid = volume.server_pid()
    volume.abort()
    found = promises(jobs, said)
    for entry in plumbing.fuse_mounts_under(volume.base):
        plumbing.detach_mount(entry.target)
    assert plumbing.wait_for_exit(pid, 30), "the server outlives its connection"
    volume.expect_log("abort|connection")
    volume.mount()
    for number, length in found.items():
        data = (volume.mnt / str(number)).read_bytes()
        assert len(data) == length
        tagged.check(data, number)


def test_many_mounts_and_unmounts_leave_nothing_and_lose_nothing(make_volume):
    volume = make_volume(members=2, sizes=("16MiB",))
    for number in range(4):
        (volume.mnt / f"f{number}").write_bytes(tagged.content(number, 50 * BLOCK))
        volume.umount()
        assert not volume.server_pids()
        assert not volume.is_mounted()
        assert os.listdir(volume.mnt) == []
        volume.mount()
        for old in range(number + 1):
            tagged.check((volume.mnt / f"f{old}").read_bytes(), old)
