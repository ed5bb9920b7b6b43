# SPDX-License-Identifier: MIT
import pytest

from iomapd.abi.mapping import NULL_ADDR, NULL_MEMBER, Mapping, MappingType
from iomapd.abi.units import MAX_FILE_SIZE
from iomapd.errors import BadMappingError
from iomapd.mapping.contract import check_answer, check_mapping

SIZES = {1: 1 << 20, 2: 1 << 20}
GOOD = Mapping(8192, 4096, 4096, MappingType.MAPPED, 0, 1)
HOLE = Mapping(0, 4096, NULL_ADDR, MappingType.HOLE, 0, NULL_MEMBER)


@pytest.mark.parametrize("good", [GOOD, HOLE, GOOD._replace(addr=(1 << 20) - 4096)])
def test_a_good_mapping_passes(good):
    check_mapping(good, SIZES)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"type": 9}, "type 9 is unknown"),
        ({"flags": 1 << 8}, "unknown bits"),
        ({"length": 0}, "not positive"),
        ({"length": -4096}, "not positive"),
        ({"offset": 100}, "not a multiple of 4096"),
        ({"length": 100}, "not a multiple of 4096"),
        ({"offset": -4096}, "not a multiple"),
        ({"offset": MAX_FILE_SIZE - 4095, "length": 8192}, "past the largest file"),
        ({"member": 3}, "member 3 does not exist"),
        ({"member": 0}, "member 0 does not exist"),
        ({"addr": NULL_ADDR}, "address -1 is negative"),
        ({"addr": 100}, "address 100 is not a multiple"),
        ({"addr": 1 << 20}, "leaves the 1048576 B data area"),
        ({"addr": 4096, "length": 1 << 20}, "leaves the 1048576 B data area"),
        ({"addr": 2**63 - 4096}, "leaves the 1048576 B data area"),
        ({"type": MappingType.HOLE}, "HOLE names a member address"),
        ({"type": MappingType.INLINE, "addr": NULL_ADDR}, "INLINE names a member address"),
        (
            {"type": MappingType.PURE_OVERWRITE, "addr": NULL_ADDR, "member": 0, "flags": 1},
            "PURE_OVERWRITE carries flags",
        ),
    ],
)
def test_each_broken_rule_is_named(changes, rule):
    with pytest.raises(BadMappingError, match=rule):
        check_mapping(GOOD._replace(**changes), SIZES)


@pytest.mark.parametrize(
    ("pos", "space", "rule"),
    [
        (4096, (1, 0, 65536), "does not cover pos 4096"),
        (12288, (1, 0, 65536), "does not cover pos 12288"),
        (8192, (2, 0, 65536), "leaves the strip"),
        (8192, (1, 8192, 65536), "leaves the strip"),
        (8192, (1, 0, 4096), "leaves the strip"),
    ],
)
def test_an_answer_stays_in_its_strip_and_covers_what_was_asked(pos, space, rule):
    with pytest.raises(BadMappingError, match=rule):
        check_answer(GOOD, pos, space, SIZES)
    check_answer(GOOD, 8192, (1, 4096, 8192), SIZES)
