# SPDX-License-Identifier: MIT
from pathlib import Path

import pytest

from iomapd.errors import UsageError
from iomapd.server.config import MountRequest

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
        ({"cache": "all"}, "cache=all: unknown"),
        ({"io": "mapped"}, "io=mapped: unknown; known: auto, buffered"),
    ],
)
def test_an_option_that_means_nothing_here_is_refused_by_name(options, rule):
    with pytest.raises(UsageError, match=rule):
        MountRequest(Path("/v.toml"), Path("/mnt"), options).check()


def test_lanes_are_refused_where_there_are_none():
    with pytest.raises(UsageError, match="--lanes 2"):
        MountRequest(Path("/v.toml"), Path("/mnt"), lanes=2).check()


def test_an_io_mode_of_the_layout_counts_unless_overridden():
    with pytest.raises(UsageError, match=r"/v\.toml"):
        PLAIN.check_io_mode("direct", "/v.toml")
    MountRequest(Path("/v.toml"), Path("/mnt"), {"io": "buffered"}).check_io_mode("direct", "x")


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
