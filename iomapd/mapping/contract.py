# SPDX-License-Identifier: MIT
"""Every rule a mapping must keep, whoever answered: store, cache or program.

The checks and their order are those of ``fuse_iomap_check_mapping`` and
``fuse_iomap_begin_validate`` in the fuse-iomap series (v7), plus what a server
on regular files needs itself: a write past the end of an image file does not
fail, it grows the file, so the *span* is checked against the data area here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from iomapd.abi.mapping import FLAGS_ALL, NULL_ADDR, NULL_MEMBER, Mapping, MappingType
from iomapd.abi.units import BLOCK, MAX_FILE_SIZE
from iomapd.errors import BadMappingError

if TYPE_CHECKING:
    from collections.abc import Mapping as Dict

_KNOWN: Final = frozenset(int(t) for t in MappingType)
_ON_MEMBER: Final = frozenset({int(MappingType.MAPPED), int(MappingType.UNWRITTEN)})
# Instructions to the cache, not places: they must carry nothing else.
_SIGNALS: Final = frozenset(
    {int(MappingType.NOCACHE), int(MappingType.RETRY_CACHE), int(MappingType.PURE_OVERWRITE)}
)


def check_mapping(mapping: Mapping, data_size_of: Dict[int, int]) -> None:
    """Check one mapping against the contract.

    Args:
        mapping: the answer; offsets in bytes.
        data_size_of: data area size in bytes by member id.

    Raises:
        BadMappingError: naming the value and the rule.
    """
    if mapping.type not in _KNOWN:
        raise _bad(mapping, f"type {mapping.type} is unknown")
    if mapping.flags & ~FLAGS_ALL:
        raise _bad(mapping, f"flags {mapping.flags:#x} has unknown bits")
    if mapping.length <= 0:
        raise _bad(mapping, f"length {mapping.length} is not positive")
    if mapping.offset < 0 or mapping.offset % BLOCK or mapping.length % BLOCK:
        raise _bad(mapping, f"offset or length {mapping.length} is not a multiple of {BLOCK}")
    # In an order that cannot overflow where integers wrap.
    if mapping.offset > MAX_FILE_SIZE + 1 - mapping.length:
        raise _bad(mapping, f"length {mapping.length} runs past the largest file")
    if mapping.type in _ON_MEMBER:
        _check_place(mapping, data_size_of)
        return
    # The negative space: a hole that names a place is a confused answer, and
    # believing half of it would hide the confusion.
    if mapping.addr != NULL_ADDR or mapping.member != NULL_MEMBER:
        raise _bad(mapping, f"type {MappingType(mapping.type).name} names a member address")
    if mapping.type in _SIGNALS and mapping.flags:
        raise _bad(mapping, f"type {MappingType(mapping.type).name} carries flags")


def _check_place(mapping: Mapping, data_size_of: Dict[int, int]) -> None:
    size = data_size_of.get(mapping.member)
    if size is None:
        raise _bad(mapping, f"member {mapping.member} does not exist")
    if mapping.addr < 0:
        raise _bad(mapping, f"address {mapping.addr} is negative")
    if mapping.addr % BLOCK:
        raise _bad(mapping, f"address {mapping.addr} is not a multiple of {BLOCK}")
    if mapping.length > size or mapping.addr > size - mapping.length:
        raise _bad(
            mapping,
            f"address {mapping.addr} + {mapping.length} leaves the {size} B data area "
            f"of member {mapping.member}",
        )


def check_answer(
    mapping: Mapping, pos: int, space: tuple[int, int, int], data_size_of: Dict[int, int]
) -> None:
    """Check an answer to "map *pos*" that must stay inside one strip.

    Args:
        mapping: the answer.
        pos: the file position asked for, bytes; must be covered.
        space: ``(member, start, end)`` of the strip the answer must lie in.
        data_size_of: data area size in bytes by member id.

    Raises:
        BadMappingError: as `check_mapping`, or the answer does not cover *pos*,
            makes no progress, or leaves its file's space.
    """
    check_mapping(mapping, data_size_of)
    if not mapping.offset <= pos < mapping.end:
        raise _bad(mapping, f"does not cover pos {pos}")
    member, start, end = space
    if mapping.member != member or mapping.addr < start or mapping.addr > end - mapping.length:
        raise _bad(
            mapping,
            f"address {mapping.addr} + {mapping.length} on member {mapping.member} leaves the "
            f"strip [{start}, {end}) on member {member}",
        )


def _bad(mapping: Mapping, rule: str) -> BadMappingError:
    return BadMappingError(f"mapping at {mapping.offset}: {rule}")
