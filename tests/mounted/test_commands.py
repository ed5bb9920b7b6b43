# SPDX-License-Identifier: MIT
"""The commands that look at, change and end a live mount do what their help says."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mounted import plumbing
from tests.mounted.harness import VOLUME_TOKEN

VOLUME = {"members": 3, "sizes": ("64MiB",)}
HELPER = Path(sys.executable).with_name("mount.fuse.iomapd")


def test_a_volume_answers_to_all_its_names(shared_volume):
    file = shared_volume.mnt / "a file"
    file.touch()
    answers = [
        json.loads(shared_volume.cli("info", "--json", name).stdout)
        for name in (shared_volume.mnt, shared_volume.layout, shared_volume.members[1])
    ]
    assert {answer["pid"] for answer in answers} == {shared_volume.server_pid()}
    assert {answer["uuid"] for answer in answers} == {answers[0]["volume"]["uuid"]}
    assert answers[0]["mountpoint"] == str(shared_volume.mnt)
    assert [m["path"] for m in answers[0]["members"]] == [str(p) for p in shared_volume.members]


def test_a_mounted_volume_named_by_a_member_is_measured_where_it_is(shared_volume):
    short = ("--quick", "--rounds", "1", "--seconds", "0.05", "--size", "4MiB")
    done = shared_volume.cli("bench", "--json", *short, shared_volume.members[0])
    assert json.loads(done.stdout)["volume"]["uuid"] in shared_volume.cli("info", "--json",
        shared_volume.mnt).stdout  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_bench_that_is_told_to_end_leaves_no_scratch_files(number, shared_volume):
    command = [sys.executable, "-m", "iomapd", "bench", "--size", "4MiB", shared_volume.mnt]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as bench:
        while not list(shared_volume.mnt.glob(".iomapd-bench-*")):
            assert bench.poll() is None
        bench.send_signal(number)
    assert bench.returncode == 130
    assert not list(shared_volume.mnt.glob(".iomapd-bench-*"))
    assert not list(shared_volume.members[0].parent.glob(".iomapd-bench-*"))


def test_what_info_prints_for_people_names_what_matters(shared_volume):
    text = shared_volume.cli("info", shared_volume.mnt).stdout
    for word in ("test", "unit 64KiB over 3 members", "raid0", str(shared_volume.server_pid())):
        assert word in text
    assert all(str(path) in text for path in shared_volume.members)


def test_a_layout_is_for_what_is_made_after_it(shared_volume, workdir):
    old, new = workdir / "old", workdir / "new"
    old.write_bytes(b"x")
    shared_volume.cli("layout", "set", workdir, "--unit", "1MiB", "--width", "2")
    new.write_bytes(b"x")
    inner = workdir / "inner"
    inner.mkdir()

    def layout(path):
        body = json.loads(shared_volume.cli("layout", "get", "--json", path).stdout)
        assert (body["schema"], body["version"]) == ("iomapd.layout", 1)
        return body["unit"], body["width"]

    assert layout(workdir) == layout(new) == layout(inner) == (1 << 20, 2)
    assert layout(old) == (65536, 0)


def test_an_impossible_layout_is_refused_and_changes_nothing(shared_volume, workdir):
    before = shared_volume.cli("layout", "get", workdir).stdout
    for wrong in (["--unit", "3000"], ["--width", "99"], ["--program", "no-such-program"]):
        done = shared_volume.cli("layout", "set", workdir, *wrong, check=False)
        assert done.returncode in (1, 2)
        assert done.stderr.startswith("iomapd: ")
        assert done.stderr.count("\n") == 1
    assert shared_volume.cli("layout", "get", workdir).stdout == before


def test_stats_count_what_happens(shared_volume, workdir):
    def stats():
        return json.loads(shared_volume.cli("stats", "--json", shared_volume.mnt).stdout)

    before = stats()["requests"].get("mkdir", {"count": 0})["count"]
    for number in range(7):
        (workdir / f"{number}").mkdir()
    after = stats()
    assert (after["schema"], after["version"]) == ("iomapd.stats", 1)
    assert after["requests"]["mkdir"]["count"] == before + 7


def test_a_directory_has_no_map(shared_volume, workdir):
    done = shared_volume.cli("map", workdir, check=False)
    assert done.returncode == 2
    assert "is not a regular file" in done.stderr


def test_umount_names_who_is_in_the_way(make_volume):
    volume = make_volume(**VOLUME)
    with (volume.mnt / "open").open("w"):
        done = volume.umount(check=False)
        assert done.returncode == 1
        assert f"({os.getpid()})" in done.stderr
        assert "umount --lazy" in done.stderr
    volume.umount()


def test_umount_returns_when_the_server_has_gone(make_volume):
    volume = make_volume(**VOLUME)
    (volume.mnt / "file").write_bytes(b"x" * 1_000_000)
    volume.umount()
    assert volume.server_pids() == []
    volume.mount()
    assert (volume.mnt / "file").stat().st_size == 1_000_000


def test_a_lazy_umount_ends_when_the_last_file_is_closed(make_volume):
    volume = make_volume(**VOLUME)
    pid = volume.server_pid()
    with (volume.mnt / "open").open("w") as file:
        volume.cli("umount", "--lazy", volume.mnt)
        assert not volume.is_mounted()
        file.write("still here")
    assert plumbing.wait_for_exit(pid, 30)
    volume.mount()
    assert (volume.mnt / "open").read_text() == "still here"


def test_force_ends_a_server_that_no_longer_answers(make_volume):
    volume = make_volume(**VOLUME)
    os.kill(volume.server_pid(), signal.SIGSTOP)
    volume.cli("umount", "--force", "--timeout", "0", volume.mnt)
    assert not volume.is_mounted()
    assert volume.server_pids() == []


def test_a_mount_whose_server_was_killed_is_told_and_cleared_away(make_volume):
    volume = make_volume(**VOLUME)
    assert plumbing.kill_and_wait(volume.server_pid())
    done = volume.cli("info", volume.mnt, check=False)
    assert done.returncode == 1
    assert f"iomapd umount --force {volume.mnt}" in done.stderr
    volume.cli("umount", "--force", volume.mnt)
    assert not volume.is_mounted()


@pytest.mark.skipif(not HELPER.exists(), reason="iomapd is not installed in this environment")
def test_mount_8_and_fstab_find_their_helper(make_volume):
    volume = make_volume(**VOLUME, mounted=False)
    environment = {**os.environ, VOLUME_TOKEN: volume.token}
    subprocess.run(
        [HELPER, volume.layout, volume.mnt, "-n", "-o", "rw,noatime,nofail,x-systemd.automount"],
        check=True,
        env=environment,
    )
    assert volume.is_mounted()
    volume.umount()
