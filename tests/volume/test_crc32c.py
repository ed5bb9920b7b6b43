# SPDX-License-Identifier: MIT
"""The checksum of superblocks against published values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iomapd.volume.crc32c import crc32c


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        # RFC 3720, B.4, and the customary check value.
        (b"123456789", 0xE3069283),
        (b"\0" * 32, 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"", 0),
    ],
)
def test_published_values(data, expected):
    assert crc32c(data) == expected


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_pieces_sum_to_the_whole(head, tail):
    assert crc32c(tail, crc32c(head)) == crc32c(head + tail)
