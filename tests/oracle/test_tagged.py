# SPDX-License-Identifier: MIT
"""The witness itself: tagged blocks notice what they are there to notice."""

import pytest

from tests.mounted import tagged


def test_whole_blocks_in_their_places_are_accepted():
    data = tagged.content(7, 5 * tagged.BLOCK + 100)
    assert tagged.check(data, 7) == [0] * 6


def test_a_misplaced_block_confesses():
    data = tagged.content(7, 2 * tagged.BLOCK)
    with pytest.raises(AssertionError, match="pos=4096"):
        tagged.check(data[tagged.BLOCK :], 7, pos=0)


def test_a_block_of_another_file_confesses():
    with pytest.raises(AssertionError, match="file=8"):
        tagged.check(tagged.content(8, tagged.BLOCK), 7)


def test_a_torn_block_confesses():
    data = tagged.block(7, 0, 1)[:2048] + tagged.block(7, 0, 2)[2048:]
    with pytest.raises(AssertionError, match="torn"):
        tagged.check(data, 7)


def test_zeros_are_refused_unless_holes_are_expected():
    data = bytes(tagged.BLOCK)
    with pytest.raises(AssertionError, match="zeros"):
        tagged.check(data, 7)
    assert tagged.check(data, 7, holes=True) == [-1]
