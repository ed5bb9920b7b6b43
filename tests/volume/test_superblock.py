# SPDX-License-Identifier: MIT
"""The superblock: what is written is read, and nothing else is believed."""

import struct
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iomapd.errors import SuperblockError, UnknownFormatError
from iomapd.volume.crc32c import crc32c
from iomapd.volume.identity import MemberIdentity, set_digest
from iomapd.volume.superblock import (
    BACKUP_COPY,
    FIRST_COPY,
    SUPERBLOCK_SIZE,
    Superblock,
    decode,
    encode,
)

VOLUME = UUID("8e7f9b9e-5f0c-4f0e-9d2f-3a1c7c1b2d4e")
MEMBER = UUID("1b4e28ba-2fa1-41d2-883f-0016d3cca427")
IDENTITY = MemberIdentity(7, 2, MEMBER, 1 << 20, 1 << 30)
PLAIN = Superblock(VOLUME, IDENTITY, 4, 9, 1_700_000_000 * 10**9, bytes(range(32)))
BLOCKS = {FIRST_COPY: encode(PLAIN, FIRST_COPY), BACKUP_COPY: encode(PLAIN, BACKUP_COPY)}

aligned = st.integers(1, 1 << 40).map(lambda blocks: blocks * 4096)
uuids = st.uuids().filter(lambda u: u.int)
superblocks = st.builds(
    Superblock,
    volume=uuids,
    member=st.builds(MemberIdentity, st.integers(0, 2**32 - 1), st.integers(0, 63), uuids,
                     aligned, aligned),
    nr_members=st.just(64),
    generation=st.integers(1, 2**63 - 1),
    created_ns=st.integers(0, 2**63 - 1),
    set_digest=st.binary(min_size=32, max_size=32),
)  # fmt: skip


def resealed(block, offset, data):
    """*block* with *data* at *offset* and a checksum that fits."""
    changed = bytearray(block)
    changed[offset : offset + len(data)] = data
    changed[8:12] = bytes(4)
    changed[8:12] = struct.pack("<I", crc32c(changed))
    return bytes(changed)


@given(superblocks, st.sampled_from([FIRST_COPY, BACKUP_COPY]))
def test_what_is_written_is_read(superblock, copy):
    addr = 0 if copy == FIRST_COPY else superblock.member.backup
    assert decode(encode(superblock, copy), addr) == superblock


def test_fields_lie_where_the_table_says():
    block = BLOCKS[BACKUP_COPY]
    assert block[:8] == b"\x89IOMAPD\n"
    assert struct.unpack_from("<I", block, 12) == (1,)
    assert struct.unpack_from("<IIq", block, 40) == (4096, 1, (1 << 20) + (1 << 30))
    assert (block[56:72], block[72:88]) == (VOLUME.bytes, MEMBER.bytes)
    assert struct.unpack_from("<IIII", block, 88) == (7, 2, 4, 0)
    assert struct.unpack_from("<qqq", block, 104) == (1 << 20, 1 << 30, (1 << 20) + (1 << 30))
    assert struct.unpack_from("<qq", block, 128) == (9, 1_700_000_000 * 10**9)
    assert block[144:176] == bytes(range(32))
    assert block[176:] == bytes(SUPERBLOCK_SIZE - 176)


@pytest.mark.slow
def test_each_flipped_byte_is_noticed():
    for offset in range(SUPERBLOCK_SIZE):
        damaged = bytearray(BLOCKS[FIRST_COPY])
        damaged[offset] ^= 0xFF
        with pytest.raises(SuperblockError) as caught:
            decode(bytes(damaged), 0)
        assert type(caught.value) is SuperblockError, "damage must not look like a newer format"


@given(st.integers(0, SUPERBLOCK_SIZE - 1), st.integers(1, 255))
def test_any_flip_of_a_byte_is_noticed(offset, mask):
    damaged = bytearray(BLOCKS[FIRST_COPY])
    damaged[offset] ^= mask
    with pytest.raises(SuperblockError):
        decode(bytes(damaged), 0)


@pytest.mark.parametrize(
    ("offset", "data", "rule"),
    [
        (0, b"ext4", "the magic is"),
        (44, struct.pack("<I", 1), "copy 1 does not belong at byte 0"),
        (44, struct.pack("<I", 5), "copy 5 does not belong at byte 0"),
        (48, struct.pack("<q", 4096), "belongs at byte 4096, was found at byte 0"),
        (56, bytes(16), "names nobody"),
        (72, bytes(16), "names nobody"),
        (92, struct.pack("<I", 4), "index 4 of 4 members"),
        (96, struct.pack("<I", 0), "0 members; 1 to 64"),
        (96, struct.pack("<I", 65), "65 members; 1 to 64"),
        (100, b"\1", "reserved bytes"),
        (104, struct.pack("<q", 0), "data area begins at byte 0"),
        (104, struct.pack("<q", 5000), "data area begins at byte 5000"),
        (104, struct.pack("<q", -4096), "data area begins at byte -4096"),
        (112, struct.pack("<q", 0), "data area of 0 bytes"),
        (112, struct.pack("<q", 4097), "data area of 4097 bytes"),
        (112, struct.pack("<q", 2**63 - 4096), "data area of"),
        (120, struct.pack("<q", 4096), "backup at byte 4096"),
        (128, struct.pack("<q", 0), "generation 0"),
        (128, struct.pack("<q", -1), "generation -1"),
        (136, struct.pack("<q", -1), "created -1"),
        (176, b"\1", "reserved bytes"),
        (1024, b"\1", "reserved bytes"),
        (4095, b"\1", "reserved bytes"),
    ],
)  # fmt: skip
def test_a_good_checksum_excuses_no_broken_rule(offset, data, rule):
    with pytest.raises(SuperblockError, match=rule):
        decode(resealed(BLOCKS[FIRST_COPY], offset, data), 0)


@pytest.mark.parametrize(
    ("offset", "data", "rule"),
    [
        (12, struct.pack("<I", 2), "format version 2; this iomapd knows version 1"),
        (32, struct.pack("<Q", 1 << 40), "incompatible feature 0x10000000000"),
        (40, struct.pack("<I", 65536), "block size 65536; this iomapd knows 4096"),
    ],
)
def test_newer_formats_are_told_from_damage(offset, data, rule):
    with pytest.raises(UnknownFormatError, match=rule):
        decode(resealed(BLOCKS[FIRST_COPY], offset, data), 0)


@pytest.mark.parametrize(("offset", "field"), [(16, "compat"), (24, "ro_compat")])
def test_features_that_may_be_ignored_may_use_reserved_bytes(offset, field):
    block = resealed(BLOCKS[FIRST_COPY], offset, struct.pack("<Q", 2))
    block = resealed(block, 1024, b"a snapshot slot")
    assert decode(block, 0) == replace(PLAIN, **{field: 2})


def test_a_copy_in_the_wrong_place_confesses():
    with pytest.raises(SuperblockError, match="belongs at byte 0"):
        decode(BLOCKS[FIRST_COPY], IDENTITY.backup)


@pytest.mark.parametrize("length", [0, 8, 4095, 4097])
def test_other_lengths_are_no_superblocks(length):
    with pytest.raises(SuperblockError, match=f"{length} bytes"):
        decode((BLOCKS[FIRST_COPY] + b"\0")[:length], 0)


def test_the_set_digest_speaks_of_every_member_and_their_order():
    a = MemberIdentity(1, 0, UUID(int=1), 1 << 20, 1 << 30)
    b = MemberIdentity(2, 1, UUID(int=2), 1 << 20, 1 << 30)
    base = set_digest(VOLUME, [a, b])
    others = [
        set_digest(MEMBER, [a, b]), set_digest(VOLUME, [b, a]), set_digest(VOLUME, [a]),
        set_digest(VOLUME, [a, replace(b, data_size=1 << 31)]),
        set_digest(VOLUME, [a, replace(b, data_offset=4096)]),
        set_digest(VOLUME, [a, replace(b, uuid=UUID(int=3))]),
    ]  # fmt: skip
    assert base not in others
    assert len(set(others)) == len(others)
