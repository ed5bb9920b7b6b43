# SPDX-License-Identifier: MIT
from pathlib import Path
from typing import get_args

import pytest

from iomapd.errors import UsageError
from iomapd.server.config import IO_MODES, MountRequest
from iomapd.volume.layout_model import IoMode

PLAIN = MountRequest(Path("/v.toml"), Path("/mnt"))


def test_a_request_survives_its_pipe():
    request = MountRequest(
        Path("/v.toml"), Path("/mnt/\udcff"), {"ro": None, "fsname": "x"}, 0, Path("/log"), True
    )
    assert MountRequest.from_json(request.to_json()) == request


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"mapper": "magic"}, "mapper=magic: unknown; known: program, record"),
        ({"cache": "all"}, "cache=all: unknown; known: through, kernel, none"),
        ({"io": "fast"}, "io=fast: unknown; known: auto, mapped, buffered, direct"),
        ({"io": ""}, "io=: unknown"),
    ],
)
def test_an_option_that_means_nothing_here_is_refused_by_name(options, rule):
    with pytest.raises(UsageError, match=rule):
        MountRequest(Path("/v.toml"), Path("/mnt"), options).check()


@pytest.mark.parametrize("lanes", [-1, 65])
def test_a_number_of_lanes_that_cannot_be_is_refused(lanes):
    with pytest.raises(UsageError, match=f"--lanes {lanes}: must be 0 to 64"):
        MountRequest(Path("/v.toml"), Path("/mnt"), lanes=lanes).check()


def test_an_io_mode_of_the_layout_counts_unless_overridden():
    assert PLAIN.io_mode("direct") == "direct"
    request = MountRequest(Path("/v.toml"), Path("/mnt"), {"io": "buffered"})
    assert request.io_mode("direct") == "buffered"


@pytest.mark.parametrize(
    ("options", "cache", "writes_back"),
    [
        ({}, "through", False),
        ({"cache": "kernel"}, "kernel", True),
        ({"cache": "kernel", "ro": None}, "kernel", False),
        ({"cache": "none"}, "none", False),
    ],
)
def test_the_kernel_writes_back_only_when_asked_to(options, cache, writes_back):
    request = MountRequest(Path("/v.toml"), Path("/mnt"), options)
    request.check()
    assert (request.cache, request.writes_back) == (cache, writes_back)


def test_layout_files_and_mount_options_know_the_same_io_modes():
    assert get_args(IoMode) == IO_MODES


@pytest.mark.parametrize(
    ("options", "fsname", "subtype"),
    [
        ({}, "scratch", "iomapd"),
        ({"fsname": "big", "subtype": "tank"}, "big", "tank"),
        ({"subtype": ""}, "scratch", ""),
        ({"subtype": None}, "scratch", ""),
    ],
)
def test_fsname_and_subtype_are_honoured_an_empty_subtype_gives_plain_fuse(
    options, fsname, subtype
):
    found = MountRequest(Path("/v.toml"), Path("/mnt"), options).mount_options("scratch")
    assert (found.fsname, found.subtype) == (fsname, subtype)


def test_kernel_flags_are_told_from_ours():
    options = {"ro": None, "noatime": None, "allow_other": None, "mapper": "record"}
    found = MountRequest(Path("/v.toml"), Path("/mnt"), options).mount_options("scratch")
    assert found.flags == {"ro", "noatime"}
    assert found.allow_other
