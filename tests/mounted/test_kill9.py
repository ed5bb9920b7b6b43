# SPDX-License-Identifier: MIT
"""kill -9 of the server at random instants under a mixed load, and what must be there then."""

import errno
import os
import shutil
import signal
import sys

import pytest

from iomapd.abi.mountinfo import find_mount
from iomapd.server import stale
from tests.mounted import loads, plumbing, storms, tagged
from tests.mounted.harness import ON_HOST, SOAK, bytes_of, is_root
from tests.mounted.rounds import Rounds

MIB = 1 << 20
pytestmark = pytest.mark.skipif(ON_HOST, reason="the host's kernel cannot be killed")


def mixture():
    """The loads of a round, each in a thread of its own."""
    kinds = [loads.FsyncChain, loads.Log, loads.SyncWriter, loads.Replacer,
             storms.Recycler, storms.Recycler, storms.Orphans, storms.Names]  # fmt: skip
    return [*kinds, storms.Fio] if shutil.which("fio") else kinds


def volumes():
    """Plans of volumes: units, members and lanes differ."""
    plans = [
        {"members": 3, "sizes": ("20MiB",)},
        {"members": 2, "sizes": ("28MiB", "36MiB"), "unit": "4KiB"},
        {"members": 4, "sizes": ("16MiB",), "unit": "256KiB", "memory": True},
        {"members": 3, "sizes": ("20MiB",), "lanes": "0"},
    ]
    return [*plans, {"members": 2, "sizes": ("32MiB",), "loop": True}] if is_root() else plans


def begin(make_volume, seed, **plan):
    """Rounds on a volume whose members are full of what must never be seen."""
    volume = make_volume(**plan, mounted=False)
    for path, size in zip(volume.members, volume.sizes, strict=True):
        plumbing.spoil(path, MIB, bytes_of(size) - 2 * MIB)
    return Rounds(volume.mount(), seed, mixture())


def test_no_promise_is_broken_by_a_killed_server(make_volume):
    """A few rounds; all loads must have been answered, or a kill would prove nothing."""
    rounds = begin(make_volume, 1, members=3, sizes=("20MiB",))
    for _ in range(4):
        rounds.run()
    assert all(load.done for load in rounds.loads), {type(x).__name__: x.done for x in rounds.loads}


@pytest.mark.skipif(not SOAK, reason="300 rounds: IOMAPD_SOAK=1")
def test_three_hundred_rounds(make_volume, capsys):
    """Crash after crash, ten groups on volumes of every kind; progress on stderr."""
    plans, violations, done, steps = volumes(), [], 0, 0
    for group in range(10 * SOAK):
        rounds = begin(make_volume, 1000 + group, **plans[group % len(plans)])
        try:
            for _ in range(30):
                rounds.run()
                with capsys.disabled():
                    tell(done + rounds.rounds, 300 * SOAK, steps + rounds.steps, len(violations))
        except AssertionError as error:
            violations.append(f"group {group}: {error}")
        done, steps = done + rounds.rounds, steps + rounds.steps
        rounds.volume.umount(check=False)
    with capsys.disabled():
        sys.stderr.write("\n")
    assert not violations, "\n\n".join(violations)
    assert done == 300 * SOAK


def tell(done, total, steps, violations):
    sys.stderr.write(f"\rround {done} of {total}: {steps} steps, {violations} violations ")
    sys.stderr.flush()


def test_the_next_mount_clears_the_mountpoint_of_a_killed_server(make_volume):
    volume = make_volume(members=2, sizes=("16MiB",))
    kept = volume.mnt / "kept"
    fd = os.open(kept, os.O_CREAT | os.O_WRONLY)
    os.write(fd, tagged.content(1, 20 * tagged.BLOCK))
    os.fsync(fd)
    assert plumbing.kill_and_wait(volume.server_pid())
    with pytest.raises(OSError) as caught:
        os.statvfs(volume.mnt)
    assert caught.value.errno == errno.ENOTCONN
    volume.mount()
    tagged.check(kept.read_bytes(), 1)
    assert [m.target for m in plumbing.mounts()].count(str(volume.mnt)) == 1
    with pytest.raises(OSError):
        os.close(fd)  # of the old mount, which nobody serves any more


def test_a_stuck_server_is_not_taken_for_a_dead_one(make_volume, monkeypatch):
    volume = make_volume(members=2, sizes=("16MiB",))
    monkeypatch.setattr(stale, "ANSWER_S", 0.1)
    pid, entry = volume.server_pid(), find_mount(volume.mnt)
    os.kill(pid, signal.SIGSTOP)
    try:
        assert not stale.is_dead(entry)
        stale.clear_stale(volume.mnt)
    finally:
        os.kill(pid, signal.SIGCONT)
    (volume.mnt / "file").write_bytes(b"still served")
    assert volume.is_mounted()
