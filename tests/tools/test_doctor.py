# SPDX-License-Identifier: MIT
"""The doctor sees what is missing on a made-up machine and names the command that mends it."""

import json

import pytest

from iomapd.tools import doctor, doctor_plane
from iomapd.tools.doctor import Finding
from iomapd.tools.machine import Machine, largest_message, package_version, program_version


@pytest.fixture
def machine(tmp_path):
    """A machine with nothing on it; an ordinary user asks."""
    return Machine(root=tmp_path, uid=1000)


def put(machine, path, text):
    place = machine.path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)


@pytest.mark.parametrize(
    ("release", "status"),
    [("6.18.44-fc", "ok"), ("6.6.0", "ok"), ("6.1.0-18-amd64", "warn"), ("4.19", "fail")],
)
def test_the_kernel_is_judged_by_its_release(machine, release, status):
    put(machine, "/proc/sys/kernel/osrelease", release + "\n")
    assert doctor.kernel(machine).status == status


def test_a_missing_fuse_device_stops_mounting(machine):
    finding = doctor.fuse_device(machine)
    assert finding.status == "fail"
    assert "modprobe fuse" in finding.mend


def test_user_allow_other_in_a_comment_does_not_count(machine):
    put(machine, "/etc/fuse.conf", "#user_allow_other\n")
    assert doctor.allow_other(machine).mend.startswith("echo user_allow_other")
    put(machine, "/etc/fuse.conf", "mount_max = 1000\n user_allow_other \n")
    assert doctor.allow_other(machine).status == "ok"


def test_a_small_page_limit_costs_speed(machine):
    assert doctor.max_pages(machine).status == "ok"  # a constant before Linux 6.13
    put(machine, "/proc/sys/fs/fuse/max_pages_limit", "32\n")
    finding = doctor.max_pages(machine)
    assert (finding.status, finding.found) == ("warn", "32 pages (128KiB)")
    assert finding.mend == "sysctl -w fs.fuse.max_pages_limit=256"


def test_a_small_socket_pair_names_the_sysctl(machine, monkeypatch):
    monkeypatch.setattr(doctor, "largest_message", lambda: (256 << 10) + 8192)
    put(machine, "/proc/sys/net/core/wmem_max", "212992\n")
    finding = doctor.socket_pair(machine)
    assert finding.found == "requests up to 256KiB (wmem_max 212992)"
    assert finding.mend == "sysctl -w net.core.wmem_max=4194304"


@pytest.mark.parametrize(
    ("text", "uid", "status"),
    [("0", 1000, "ok"), ("1", 1000, "info"), ("1", 0, "ok"), ("2", 0, "info")],
)
def test_io_uring_may_be_disabled_for_some(machine, text, uid, status):
    put(machine, "/proc/sys/kernel/io_uring_disabled", text)
    assert doctor.io_uring(Machine(machine.root, uid)).status == status


def test_a_missing_package_is_told_with_its_command(machine):
    check = doctor.package("no-such-package-here", "fail", "nothing", "pip install it")
    assert check(machine) == Finding(
        "no-such-package-here", "fail", "missing", "nothing", "pip install it"
    )


def test_every_check_answers_on_an_empty_machine_and_on_this_one(machine):
    for where in (machine, Machine()):
        findings = doctor.examine(where)
        assert len({finding.name for finding in findings}) == len(doctor.CHECKS)
        assert all(finding.found and finding.why for finding in findings)
        assert all(f.mend for f in findings if f.status in ("warn", "fail"))


def test_the_report_carries_the_worst_status():
    good, bad = Finding("a", "ok", "1", "x"), Finding("b", "fail", "2", "y", "z")
    assert doctor.report([good])["status"] == "ok"
    body = doctor.report([good, bad])
    assert body["status"] == "fail"
    assert json.loads(json.dumps(body))["checks"][1]["mend"] == "z"


def test_versions_come_without_importing():
    assert package_version("iomapd")
    assert package_version("no-such-package-here") is None
    assert program_version("no-such-program-here") is None


def test_the_pair_carries_something():
    assert largest_message() >= (64 << 10) + 8192


def test_lanes_are_compiled_or_will_be(machine, monkeypatch):
    monkeypatch.setattr(doctor_plane, "are_compiled", lambda: False)
    assert doctor_plane.lanes(machine).found.startswith("the first mount compiles them")
    monkeypatch.setattr(doctor_plane, "package_version", lambda name: None)
    assert doctor_plane.lanes(machine).mend == "pip install numba"
    monkeypatch.setattr(doctor_plane, "are_compiled", lambda: True)
    assert doctor_plane.lanes(machine).found.startswith("compiled; ")
    monkeypatch.setattr(doctor_plane, "compiled_here", lambda: False)
    assert doctor_plane.lanes(machine).status == "info"


def test_memory_that_outlives_a_server_is_looked_for(machine):
    assert doctor_plane.shared_memory(machine).status == "warn"
    machine.path("/dev/shm").mkdir(parents=True)
    assert doctor_plane.shared_memory(machine).found.endswith("a mount takes 256MiB at most")


def test_a_verifier_that_may_not_be_asked_says_why(machine, monkeypatch):
    monkeypatch.setattr(doctor_plane, "why_not", lambda: "bpf(2) is not permitted here")
    finding = doctor_plane.verifier(machine)
    assert (finding.status, finding.found) == ("info", "bpf(2) is not permitted here")
