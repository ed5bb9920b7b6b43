# SPDX-License-Identifier: MIT
"""Superblocks that somebody changed: the other copy serves, or the member is refused in words.

Never is a changed geometry believed because of an accident: a copy whose sum is wrong is
no copy.  A copy that was changed *and* summed again is a lie; it is held against the
store, so it is refused wherever it differs.
"""

import os
import struct
from pathlib import Path
from random import Random

import pytest

from iomapd.control.open import open_volume
from iomapd.errors import IomapdError
from iomapd.tools.fsck import check_volume
from iomapd.volume.copies import read_superblock
from iomapd.volume.crc32c import crc32c
from iomapd.volume.layout_file import load_layout
from tests.faults import mutate, patient
from tests.mounted.harness import SOAK, run_cli

SIZE = 4096
FIELDS = 176  # bytes before the reserved ones
NR_LIES = 1000 if SOAK else 30
NR_NOISES = 500 if SOAK else 16
LIMIT = 6 * 3600 if SOAK else 300  # seconds


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    """The volume's directory; every test leaves it as it was."""
    return patient.build(tmp_path_factory.mktemp("superblocks"))


@pytest.fixture
def copies(volume):
    """Both copies of the first member; put back after the test."""
    path = volume / patient.MEMBERS[0]
    kept = {addr: mutate.get(path, addr) for addr in mutate.places(path)}
    yield path, kept
    for addr, block in kept.items():
        mutate.put(path, addr, block)


def flipped(block, place, mask=0xFF):
    return block[:place] + bytes([block[place] ^ mask]) + block[place + 1 :]


def sealed(block):
    """*block* with a sum that is right."""
    return block[:8] + struct.pack("<I", crc32c(block[:8] + bytes(4) + block[12:])) + block[12:]


def read(path):
    """The superblock as any command reads it."""
    with Path(path).open("rb") as file:
        return read_superblock(file.fileno(), path, os.path.getsize(path))


def examine(volume):
    """Fsck and open; return the findings and why it could not be opened."""
    layout = load_layout(volume / patient.LAYOUT)
    findings = [finding.message for finding in check_volume(layout).findings]
    assert all(message and "\n" not in message for message in findings)
    try:
        store, members = open_volume(layout, read_only=True, mountpoint=None)
    except (IomapdError, OSError) as exc:
        return findings, patient.one_line(exc)
    store.close()
    for member in members:
        member.close()
    return findings, ""


def bytes_to_flip():
    """All of them; in a quick run all that mean something, and some reserved ones."""
    return range(SIZE) if SOAK else [*range(FIELDS), *range(FIELDS, SIZE, 397), SIZE - 1]


@pytest.mark.timeout(LIMIT)
def test_every_flipped_byte_of_a_copy_leaves_the_other_one_serving(copies):
    path, kept = copies
    whole = read(path)
    for addr, block in kept.items():
        for place in bytes_to_flip():
            mutate.put(path, addr + place, bytes([block[place] ^ 0xFF]))
            found = read(path)
            assert found.superblock == whole.superblock, (addr, place)
            assert len(found.warnings) == 1, (addr, place)
            assert f"at byte {addr}" in found.warnings[0] or "first superblock" in found.warnings[0]
            mutate.put(path, addr + place, block[place : place + 1])


@pytest.mark.timeout(LIMIT)
def test_the_same_byte_flipped_in_both_copies_is_refused_in_words(volume, copies):
    path, kept = copies
    for place in range(0, SIZE, 16 if SOAK else 511):
        for addr, block in kept.items():
            mutate.put(path, addr, flipped(block, place))
        findings, refused = examine(volume)
        assert any(str(path) in message for message in findings), place
        assert refused, place
        assert str(path) in refused or "is missing" in refused, (place, refused)


@pytest.mark.timeout(LIMIT)
def test_a_lie_with_a_right_sum_is_refused_where_it_differs(volume, copies):
    """Any field of one or both copies, any value, summed again."""
    path, kept = copies
    random = Random(7)
    before = read(path).superblock
    for _ in range(NR_LIES):
        place = random.randrange(12, FIELDS)
        length = random.choice((1, 4, 8))
        lie = bytes(random.choice((0, 1, 0x7F, 0x80, 0xFF, 0x3A)) for _ in range(length))
        both = random.random() < 0.5
        for addr, block in kept.items():
            if both or addr == 0:
                changed = block[:place] + lie + block[place + length :]
                mutate.put(path, addr, sealed(changed[:SIZE]))
        findings, refused = examine(volume)
        try:
            now = read(path)
            same = now is not None and now.superblock == before
        except IomapdError:
            same = False
        # Generations and creation time may be others'; identity and geometry may not.
        if not refused and not same:
            assert now.superblock.member == before.member, (place, lie)
            assert now.superblock.volume == before.volume, (place, lie)
        if refused:
            assert findings, (place, lie, refused)
        for addr, block in kept.items():
            mutate.put(path, addr, block)


def test_members_that_swapped_their_superblocks_are_refused(volume):
    first, second = (volume / name for name in patient.MEMBERS[:2])
    kept = {(p, a): mutate.get(p, a) for p in (first, second) for a in mutate.places(p)}
    for (path, addr), _ in kept.items():
        other = second if path == first else first
        mutate.put(path, addr, kept[other, addr])
    try:
        # Each is whole, and where the other was: found by UUID, and the data is the other's.
        findings, refused = examine(volume)
    finally:
        for (path, addr), block in kept.items():
            mutate.put(path, addr, block)
    assert refused == ""
    assert findings == []


def test_one_copy_of_another_member_is_told(volume, copies):
    path, kept = copies
    other = volume / patient.MEMBERS[1]
    backup = max(kept)
    mutate.put(path, backup, mutate.get(other, backup))
    findings, refused = examine(volume)
    assert refused == ""
    assert any("is of another member" in message for message in findings)
    mutate.put(path, 0, mutate.get(other, 0))
    findings, refused = examine(volume)
    assert "is a clone of" in refused
    assert any("is a clone of" in message for message in findings)


def test_an_old_superblock_is_stale(tmp_path):
    """Both copies as they were two mounts ago, and one of them only."""
    patient.build(tmp_path)
    path = tmp_path / patient.MEMBERS[0]
    old = {addr: mutate.get(path, addr) for addr in mutate.places(path)}
    for _ in range(2):
        assert patient.examine(tmp_path).refused == ""
    new = {addr: mutate.get(path, addr) for addr in mutate.places(path)}
    for addr, block in old.items():
        mutate.put(path, addr, block)
    findings, refused = examine(tmp_path)
    assert "is stale" in refused
    assert any("is stale" in message for message in findings)
    mutate.put(path, 0, new[0])
    assert examine(tmp_path)[1] == ""


@pytest.mark.timeout(LIMIT)
def test_noise_and_cuts_in_a_member_are_told_in_words(tmp_path, volume):
    random = Random(11)
    for _ in range(NR_NOISES):
        work = patient.copy_volume(volume, tmp_path / "work")
        path = work / random.choice(patient.MEMBERS)
        addr = random.choice(mutate.places(path)) + random.randrange(4000)
        kind = random.choice(("noise", "zeros", "cut"))
        if kind == "cut":
            os.truncate(path, random.choice((0, 1, 4095, 4096, 1 << 20, path.stat().st_size - 1)))
        else:
            mutate.put(path, addr, bytes(64) if kind == "zeros" else random.randbytes(64))
        findings, refused = examine(work)
        assert findings or not refused, (kind, path, addr)
        assert findings or kind == "zeros", (kind, path, addr)


def test_commands_on_a_tampered_member_say_it_in_one_line(volume, copies):
    path, kept = copies
    for addr, block in kept.items():
        mutate.put(path, addr, flipped(block, 100))
    done = run_cli("fsck", volume / patient.LAYOUT)
    assert done.returncode == 4
    assert "no whole copy of the superblock" in done.stdout
    mountpoint = volume / "mnt"
    mountpoint.mkdir()
    done = run_cli("mount", volume / patient.LAYOUT, mountpoint)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "no whole copy of the superblock" in done.stderr
