# SPDX-License-Identifier: MIT
"""The thread that serves requests does without splice."""

import threading
from pathlib import Path

from iomapd.transport.splice import CAP_SYS_RESOURCE, disarm, forgo_splice

CAP_SYS_PACCT = 20


def effective(capability):
    for line in Path("/proc/thread-self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> capability & 1)
    raise AssertionError("no CapEff")


def in_thread(function):
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


def test_a_capability_is_given_up_by_one_thread_alone():
    before = effective(CAP_SYS_PACCT)

    def give_up():
        disarm(CAP_SYS_PACCT)
        return effective(CAP_SYS_PACCT)

    assert in_thread(give_up) is False
    assert effective(CAP_SYS_PACCT) is before


def test_the_server_thread_cannot_make_the_pipe_that_splicing_needs():
    def serve():
        certain = forgo_splice()
        return certain, effective(CAP_SYS_RESOURCE)

    certain, armed = in_thread(serve)
    assert armed is False
    if int(Path("/proc/sys/fs/pipe-max-size").read_text()) <= 1 << 20:
        assert certain
