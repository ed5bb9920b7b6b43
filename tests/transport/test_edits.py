# SPDX-License-Identifier: MIT
"""Messages are edited as the table in abi/fuse.py says, and not otherwise."""

import os
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iomapd.abi.fuse import (
    CREATE,
    FH_DSYNC,
    FH_KILL_SUIDGID,
    FH_NONE,
    FH_SYNC,
    FH_WRITE_CACHE,
    OPEN,
    OPEN_KILL_SUIDGID,
    READ,
    SETATTR,
    WRITE,
)
from iomapd.native.region import Region
from tests.transport import messages

PATIENT = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def edited(functions, message, opcode):
    region = Region(8192)
    region.write(0, message)
    functions["edit"](region.addr, len(message), opcode)
    return region.read(0, len(message))


def fh_of_write(functions, **fields):
    message = messages.request(WRITE, messages.write_in(data=b"data", **fields))
    after = edited(functions, message, WRITE)
    assert after[:40] + after[48:] == message[:40] + message[48:]
    return struct.unpack_from("<Q", after, 40)[0]


@pytest.mark.parametrize(
    ("fields", "marks"),
    [
        ({}, 0),
        ({"flags": os.O_RDWR | os.O_DIRECT | os.O_APPEND}, 0),
        ({"flags": os.O_DSYNC}, FH_DSYNC),
        ({"flags": os.O_SYNC}, FH_DSYNC | FH_SYNC),
        ({"write_flags": 1}, FH_WRITE_CACHE),
        ({"write_flags": 2}, 0),
        ({"write_flags": 4}, FH_KILL_SUIDGID),
        ({"write_flags": 7, "flags": os.O_SYNC},
         FH_DSYNC | FH_SYNC | FH_KILL_SUIDGID | FH_WRITE_CACHE),
    ],
)  # fmt: skip
def test_a_write_carries_its_marks_in_the_handle(functions, fields, marks):
    assert fh_of_write(functions, fh=5, **fields) == 5 | marks


@pytest.mark.parametrize("fh", [0, 5, FH_NONE - 1])
def test_a_setattr_that_kills_suid_says_so_in_the_handle(functions, fh):
    kill, has_fh = 1 << 11, 1 << 6
    for valid, expected_fh in ((kill | has_fh, fh | FH_KILL_SUIDGID),
                               (kill, FH_NONE | FH_KILL_SUIDGID)):  # fmt: skip
        message = messages.request(SETATTR, messages.setattr_in(valid | 8, fh))
        after = edited(functions, message, SETATTR)
        assert struct.unpack_from("<I4xQ", after, 40) == (valid | has_fh | 8, expected_fh)
        assert after[56:] == message[56:]


def test_a_setattr_that_kills_nothing_stays_as_it_is(functions):
    message = messages.request(SETATTR, messages.setattr_in(0x1F, fh=3))
    assert edited(functions, message, SETATTR) == message


@pytest.mark.parametrize(
    ("opcode", "body"), [(OPEN, messages.open_in), (CREATE, messages.create_in)]
)
def test_an_open_that_kills_suid_says_so_in_its_flags(functions, opcode, body):
    plain = messages.request(opcode, body(os.O_RDWR, 0))
    assert edited(functions, plain, opcode) == plain
    killing = messages.request(opcode, body(os.O_RDWR, 1))
    after = edited(functions, killing, opcode)
    assert struct.unpack_from("<i", after, 40)[0] == os.O_RDWR | OPEN_KILL_SUIDGID
    assert after[44:] == killing[44:]


def test_the_kill_mark_is_no_open_flag_of_this_system():
    used = {value for name, value in vars(os).items() if name.startswith("O_")}
    assert not any(OPEN_KILL_SUIDGID & flag for flag in used)


@PATIENT
@given(body=st.binary(max_size=200), opcode=st.sampled_from([1, READ, 26, 36, 4096]))
def test_other_requests_pass_untouched(functions, body, opcode):
    message = messages.request(opcode, body)
    assert edited(functions, message, opcode) == message


@PATIENT
@given(opcode=st.sampled_from([WRITE, SETATTR, OPEN, CREATE]), data=st.data())
def test_what_is_too_short_to_be_what_it_claims_passes_untouched(functions, opcode, data):
    least = {WRITE: 40, SETATTR: 88, OPEN: 8, CREATE: 16}[opcode]
    body = data.draw(st.integers(0, least - 1).map(lambda size: b"\xff" * size))
    message = messages.request(opcode, body)
    assert edited(functions, message, opcode) == message


@pytest.mark.parametrize("body", [messages.open_out, messages.create_out])
def test_direct_opens_allow_parallel_writes(functions, body):
    region = Region(4096)
    message = messages.reply(4, body(0b11))
    region.write(0, message)
    assert functions["edit_open_reply"](region.addr, len(message)) == 1
    assert region.read(0, len(message)) == messages.reply(4, body(0b11 | 1 << 6))


@pytest.mark.parametrize(
    "body", [messages.open_out(0b10), messages.create_out(0b10), b"", b"\xff" * 17]
)
def test_other_open_replies_stay_as_they_are(functions, body):
    region = Region(4096)
    message = messages.reply(4, body)
    region.write(0, message)
    assert functions["edit_open_reply"](region.addr, len(message)) == 0
    assert region.read(0, len(message)) == message
