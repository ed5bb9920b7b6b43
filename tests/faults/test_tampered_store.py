# SPDX-License-Identifier: MIT
"""Stores that somebody changed: fsck, opening and reading them ends in data or in words.

Each mutation is named by its seed; a failure prints seed and deed.  The same volume is
restored before each.  What counts as wrong: an exception that is not ours, a line break
in a message, memory or time without bound, and another file's bytes where a rule is
broken that a mount checks.
"""

import logging
import shutil
import signal
import sqlite3
from contextlib import closing
from random import Random

import pytest

from tests.faults import mutate, patient
from tests.mounted import plumbing
from tests.mounted.harness import SOAK, run_cli, soak

NR_MUTATIONS = 5000 if SOAK else 80
NR_COMMANDS = soak(8, 5)
SECONDS = 240  # for one examination: generous on a busy machine, and far below "never"
FIRST_SEED = 1


@pytest.fixture(scope="module")
def patient_volume():
    """The volume that is damaged again and again; in memory, where copying costs nothing."""
    base = plumbing.memory_home() / "tampered"  # swept also when this process is killed
    base.mkdir(parents=True)
    try:
        yield patient.build(base)
    finally:
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(autouse=True)
def _quiet():
    """Thousands of complaints in the log are what is expected here."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def _bounded():
    """An examination that hangs is ended where it is, with the traceback."""

    def expired(*_):
        raise TimeoutError(f"an examination took more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, expired)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def damaged(base, seed):
    """A fresh copy of the volume with mutation *seed*, and what was done to it."""
    work = patient.copy_volume(base, base / "work")
    return work, mutate.damage(work, patient.STORE, Random(seed))


@pytest.mark.timeout(6 * 3600 if SOAK else 300)
@pytest.mark.usefixtures("_bounded")
def test_a_tampered_store_is_refused_or_read_in_words(patient_volume):
    """The heart of it; see the module."""
    refused = faulty = 0
    for seed in range(FIRST_SEED, FIRST_SEED + NR_MUTATIONS):
        work, deed = damaged(patient_volume, seed)
        signal.alarm(SECONDS)
        try:
            verdict = patient.examine(work)
        except BaseException as exc:
            exc.add_note(f"seed {seed}: {deed}")
            raise
        signal.alarm(0)
        if verdict.foreign:
            # Nobody can tell whose an extent is but fsck, by its seed; where two own the
            # same space, neither may be read.
            assert verdict.errors, f"seed {seed}: {deed}: {verdict.foreign}"
            overlap = any("both own" in message for message in verdict.fsck)
            assert not overlap, f"seed {seed}: {deed}: {verdict.foreign}, {verdict.fsck}"
        refused += bool(verdict.refused)
        faulty += bool(verdict.errors)
    # A run in which nothing was hurt would show nothing.
    assert refused > NR_MUTATIONS // 20
    assert faulty > NR_MUTATIONS // 2


def test_a_volume_that_nobody_touched_is_clean_and_whole(patient_volume):
    verdict = patient.examine(patient.copy_volume(patient_volume, patient_volume / "work"))
    assert (verdict.fsck, verdict.refused, verdict.foreign, verdict.problems) == ([], "", [], [])
    assert verdict.faults == ["[Errno 39] directory 17 is not empty"]
    assert verdict.read > 10 * patient.MIB


@pytest.mark.timeout(3600 if SOAK else 120)
def test_commands_on_a_tampered_store_say_one_line_per_fault(patient_volume):
    """The commands themselves: no traceback, no internal error, the exit bits of each."""
    for seed in range(90_000, 90_000 + NR_COMMANDS):
        work, deed = damaged(patient_volume, seed)
        fsck = run_cli("fsck", work / patient.LAYOUT)
        info = run_cli("info", work / patient.LAYOUT)
        told = fsck.stdout + fsck.stderr + info.stdout + info.stderr
        assert fsck.returncode in (0, 4, 8), (seed, deed, told)
        assert info.returncode in (0, 1), (seed, deed, told)
        assert "Traceback" not in told, (seed, deed, told)
        assert "internal error" not in told, (seed, deed, told)
        if fsck.returncode == 8:
            assert fsck.stderr.count("\n") == 1, (seed, deed, told)


# -- what the mutations found, each by its symptom


def broken(base, *statements):
    """A fresh copy with these statements run past every constraint."""
    work = patient.copy_volume(base, base / "work")
    with mutate.lawless(work / patient.STORE) as connection:
        for statement in statements:
            connection.execute(statement)
    return work


def ino_of(base, name):
    work = patient.copy_volume(base, base / "work")
    with closing(sqlite3.connect(work / patient.STORE)) as connection:
        found = connection.execute("SELECT ino FROM dirent WHERE name=?", (name,)).fetchone()
    return found[0]


@pytest.mark.parametrize("seed", [40112, 40170, 50721, 51895])
def test_line_breaks_and_bytes_that_are_no_text_are_told_on_one_line(patient_volume, seed):
    work, deed = damaged(patient_volume, seed)
    assert patient.examine(work).errors, deed


def test_two_files_on_the_same_space_are_read_by_neither(patient_volume):
    """The mount was read-only, and each of the two showed the other's bytes."""
    one, other = (ino_of(patient_volume, name) for name in (b"small3", b"small4"))
    verdict = patient.examine(broken(
        patient_volume,
        f"UPDATE extent SET strips=(SELECT strips FROM extent WHERE ino={other} AND start=0) "
        f"WHERE ino={one} AND start=0",
    ))  # fmt: skip
    assert verdict.foreign == []
    assert any("/dir/small3 and /dir/small4 both own" in problem for problem in verdict.problems)
    told = [fault for fault in verdict.faults if "nobody can tell whose data" in fault]
    assert {fault.split(" at ")[0] for fault in told} == {
        f"extent of inode {one}", f"extent of inode {other}"
    }  # fmt: skip


def test_a_strip_length_of_a_tebibyte_is_not_computed_block_by_block(patient_volume):
    """Proving the map of one tampered extent took 42 s at every mount."""
    turned = ino_of(patient_volume, b"turned")
    change = f"UPDATE extent SET strip_length={1 << 40}, speculative=1 WHERE ino={turned}"
    verdict = patient.examine(broken(patient_volume, change))
    assert any("its layout allows" in message for message in verdict.fsck)
    assert not verdict.refused


def test_a_changed_program_costs_only_its_own_files(patient_volume):
    """The stored source was compiled whatever its digest said: bytes came from other places."""
    change = "UPDATE program SET source=source||'#' WHERE name='rotated'"
    verdict = patient.examine(broken(patient_volume, change))
    assert not verdict.refused
    assert any("not what its SHA-256 says" in fault for fault in verdict.faults)


def test_a_layout_that_is_not_there_is_a_fault_and_not_a_hole(patient_volume):
    """A join left its extents out: written blocks "had no extent", and new ones replaced them."""
    wide = ino_of(patient_volume, b"wide")
    change = f"UPDATE extent SET layout=99 WHERE ino={wide}"
    verdict = patient.examine(broken(patient_volume, change))
    assert any(f"extent of inode {wide}: names layout 99" in fault for fault in verdict.faults)


def test_extents_that_changed_files_are_told_by_their_seed(patient_volume):
    """No mount can see it: the space is owned once, by somebody.  And the checker here sees."""
    one, other = (ino_of(patient_volume, name) for name in (b"small3", b"small4"))
    verdict = patient.examine(
        broken(
            patient_volume,
            f"UPDATE extent SET ino=-1 WHERE ino={one}",
            f"UPDATE extent SET ino={one} WHERE ino={other}",
            f"UPDATE extent SET ino={other} WHERE ino=-1",
        )
    )
    assert any(f"of inode {one} is {other}'s" in block for block in verdict.foreign)
    told = [message for message in verdict.fsck if "was made by inode" in message]
    assert {message.split(":")[0] for message in told} == {"/dir/small3", "/dir/small4"}
