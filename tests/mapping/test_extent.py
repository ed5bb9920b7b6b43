# SPDX-License-Identifier: MIT
from dataclasses import replace

import pytest

from iomapd.errors import BadMappingError
from iomapd.mapping.extent import Extent, Strip, check_extent

SIZES = {1: 1 << 20, 2: 1 << 20}
GOOD = Extent(7, 0, 131072, 1, 65536, 7, 65536, 65536, (Strip(1, 0), Strip(2, 65536)))


def test_a_good_extent_passes():
    check_extent(GOOD, SIZES)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"strips": ()}, "no strips"),
        ({"length": 0, "strip_alloc": 0}, "length 0 is not positive"),
        ({"offset": -4096}, "negative"),
        ({"offset": 1}, "not a multiple of 4096"),
        ({"offset": 2**63 - 4096}, "beyond the largest file"),
        ({"unit": 0}, "unit 0"),
        ({"length": 65536}, "is not 2 strips of 65536"),
        ({"strip_alloc": 131072, "length": 262144}, "strip_alloc 131072 is not in 1..65536"),
        ({"strip_alloc": 32768, "length": 65536}, "not a multiple of the unit"),
        ({"strips": (Strip(1, 100), Strip(2, 0))}, "no block multiple"),
        ({"strips": (Strip(1, 0), Strip(1, 65536))}, "repeat"),
        ({"strips": (Strip(1, 0), Strip(9, 0))}, "no member has id 9"),
        ({"strips": (Strip(1, 0), Strip(2, 1 << 20))}, "leaves the 1048576 B data area"),
        ({"strips": (Strip(1, 0), Strip(2, -4096))}, "leaves the 1048576 B data area"),
    ],
)
def test_each_broken_rule_is_named(changes, rule):
    with pytest.raises(BadMappingError, match=rule):
        check_extent(replace(GOOD, **changes), SIZES)


def test_a_trim_keeps_the_start_of_every_strip():
    extent = replace(GOOD, length=262144, strip_length=131072, strip_alloc=131072)
    short = extent.trimmed(131072)
    assert short.strip_alloc == 65536
    assert short.strip_length == 131072, "what the program sees is fixed for life"
    assert short.strips == extent.strips
