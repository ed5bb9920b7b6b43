# SPDX-License-Identifier: MIT
"""Sizes as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iomapd.abi.units import MAX_FILE_SIZE
from iomapd.errors import UsageError
from iomapd.geometry.sizes import FACTORS, format_size, parse_size


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [
        ("0", 0), ("4096", 4096), (4096, 4096), ("1B", 1), ("64KiB", 65536), ("64 KiB", 65536),
        (" 3MiB ", 3 << 20), ("4GiB", 4 << 30), ("2TiB", 2 << 40),
        (str(MAX_FILE_SIZE), MAX_FILE_SIZE),
    ],
)  # fmt: skip
def test_sizes_are_read(text, nbytes):
    assert parse_size(text) == nbytes


@pytest.mark.parametrize(
    "text",
    ["", "KiB", "64QB", "64K", "64kib", "64KB", "1.5GiB", "-1", "0x10", "1 000", "\u0661", -1, True,
     1.0, None, "9223372036854775808", "8388608TiB", "9" * 40],
)  # fmt: skip
def test_anything_else_is_refused_by_name_and_value(text):
    with pytest.raises(UsageError) as caught:
        parse_size(text, "volume.unit")
    message = str(caught.value)
    assert message.startswith("volume.unit = ")
    assert str(text) in message
    assert "\n" not in message


@given(st.integers(0, 1 << 20), st.sampled_from(sorted(FACTORS)))
def test_every_suffix_multiplies(count, suffix):
    assert parse_size(f"{count}{suffix}") == count * FACTORS[suffix]


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [
        (0, "0B"), (1, "1B"), (1000, "1000B"), (65536, "64KiB"), (3 << 29, "1.5GiB"),
        ((1 << 30) - 1, "1023.99MiB"), (1 << 62, "4194304TiB"), (-4096, "-4KiB"), (1030, "1KiB"),
    ],
)  # fmt: skip
def test_sizes_are_written_for_people(nbytes, text):
    assert format_size(nbytes) == text


@given(st.integers(1, 1023), st.sampled_from(sorted(FACTORS)))
def test_exact_multiples_read_back(count, suffix):
    nbytes = count * FACTORS[suffix]
    assert parse_size(format_size(nbytes)) == nbytes


@given(st.integers(0, MAX_FILE_SIZE))
def test_what_is_printed_never_exceeds_the_truth(nbytes):
    text = format_size(nbytes)
    digits = text.rstrip("BKMGTi")
    suffix = text[len(digits) :]
    hundredths = round(float(digits) * 100)
    assert hundredths * FACTORS[suffix] <= nbytes * 100
