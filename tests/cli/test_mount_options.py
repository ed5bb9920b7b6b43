# SPDX-License-Identifier: MIT
"""-o: our options and the kernel's arrive, other people's are swallowed, the rest is refused."""

import pytest

from iomapd.cli.mount_options import FLAGS, WITH_VALUE, parse_options
from iomapd.errors import UsageError


def test_values_and_flags_arrive():
    assert parse_options(["ro,fsname=data,io=direct", "allow_other"]) == {
        "ro": None,
        "fsname": "data",
        "io": "direct",
        "allow_other": None,
    }


def test_later_options_win_and_undo():
    assert parse_options(["ro,nosuid,mapper=a", "rw,suid,mapper=b"]) == {"mapper": "b"}


def test_an_empty_subtype_is_an_answer():
    assert parse_options(["subtype="]) == {"subtype": ""}


def test_a_value_may_hold_an_equals_sign():
    assert parse_options(["fsname=a=b"]) == {"fsname": "a=b"}


@pytest.mark.parametrize(
    "text",
    ["defaults", "auto,nofail,_netdev", "x-systemd.requires=a.mount", "comment=mine", "", ",,"],
)
def test_generic_options_are_swallowed(text):
    assert parse_options([text]) == {}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("mappre=record", "-o mappre=record: unknown mount option; known are"),
        ("big_writes", "-o big_writes: unknown mount option"),
        ("mapper", "-o mapper: needs a value"),
        ("ro=1", "-o ro=1: ro takes no value"),
        ("rw=1", "-o rw=1: rw takes no value"),
    ],
)
def test_a_wrong_option_is_refused_by_name(text, sentence):
    with pytest.raises(UsageError, match=sentence):
        parse_options([text])


def test_sloppy_drops_what_it_does_not_know():
    assert parse_options(["big_writes,ro"], sloppy=True) == {"ro": None}


def test_an_option_means_one_thing():
    assert not set(FLAGS) & set(WITH_VALUE)
