# SPDX-License-Identifier: MIT
"""What a read of mapped bytes costs: two system calls of a lane, and nothing of Python."""

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.mounted import syscalls, tagged
from tests.mounted.harness import IO_MODE, LANES, MAPPER, ON_HOST

pytestmark = [
    pytest.mark.skipif(ON_HOST, reason="a plain directory has no lanes"),
    pytest.mark.skipif(bool(LANES or IO_MODE or MAPPER), reason="of lanes on mapped members"),
]
BLOCK, COUNT, LENGTH = tagged.BLOCK, 400, 64 << 10
# Timers of the server, and whoever looks at the statistics.
FEW = 40


@pytest.fixture
def hot(make_volume):
    """A volume, and a file of it that lanes have served."""
    volume = make_volume(members=4, sizes=("8MiB",), memory=True)
    path = volume.mnt / "hot"
    path.write_bytes(tagged.content(1, 16 * LENGTH))
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    os.fsync(fd)
    read_often(fd)  # the map is published, atime is set
    yield volume, fd
    os.close(fd)


def read_often(fd):
    for number in range(COUNT):
        pos = number % 16 * LENGTH
        assert len(syscalls.direct_read(fd, LENGTH, pos)) == LENGTH


def lanes_of(volume):
    return json.loads(volume.cli("stats", "--json", volume.mnt).stdout)["lanes"]


def wakings(pid):
    """How often the server's main thread, where Python runs, has waited for something."""
    status = Path(f"/proc/{pid}/task/{pid}/status").read_text()
    return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.MULTILINE)[1])


def test_a_hot_read_never_comes_to_python(hot):
    volume, fd = hot
    before, pid = lanes_of(volume), volume.server_pid()
    woken = wakings(pid)
    read_often(fd)
    woken = wakings(pid) - woken
    after = lanes_of(volume)
    assert after["reads"] - before["reads"] == COUNT
    assert after["read_bytes"] - before["read_bytes"] == COUNT * LENGTH
    assert after["parked"] == before["parked"]
    reasons = {
        reason: count - before["forwarded"][reason]
        for reason, count in after["forwarded"].items()
        if reason != "foreign"  # no READ, and looking at statistics makes some
    }
    assert not any(reasons.values()), reasons
    assert woken < FEW, f"the main thread woke {woken} times for {COUNT} reads"


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_hot_read_costs_two_system_calls(hot, tmp_path):
    volume, fd = hot
    told = tmp_path / "strace"
    command = ["strace", "-f", "-c", "-o", str(told), "-p", str(volume.server_pid())]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        tracer.stderr.readline()  # attached
        read_often(fd)
        tracer.send_signal(signal.SIGINT)
    calls = {}
    for line in told.read_text().splitlines():
        words = line.split()
        if len(words) >= 5 and words[3].isdigit():
            calls[words[-1]] = int(words[3])
    calls.pop("total", None)
    # A lane that was in read(2) already is not counted once.
    assert COUNT - FEW <= calls["read"] <= COUNT + FEW
    assert COUNT <= calls["writev"] <= COUNT + FEW
    others = sum(calls.values()) - calls["read"] - calls["writev"]
    assert others <= FEW, calls
