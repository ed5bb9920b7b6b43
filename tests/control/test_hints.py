# SPDX-License-Identifier: MIT
"""Hints are input: whatever a program asks of the cache, bytes lie where its map puts them."""

import itertools
import logging
import stat

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from iomapd.cache.entry import PLACES
from iomapd.control import report
from iomapd.control.hints import ANSWERS, FOLLOWED, Allowance, HintCounters
from iomapd.control.misses import SERVE
from iomapd.dataplane.engine import Hints
from iomapd.native.memory import load64
from tests.control.conftest import MIB, RAID0, make_control
from tests.control.test_misses import living_lane, new_file

UNIT = 65536
SIZE = 2 * MIB
NR_UNITS = SIZE // UNIT
HUGE = 2**63 - 1
NOTHING = Hints(0, 0, 0, 0, 0, 0)
HINTED = RAID0.replace("    return HANDLED", "{}\n    return HANDLED")
NEXT_UNIT = """\
    if ctx.count > ctx.unit and (row % 2 == 0 or ctx.strip + 1 < ctx.nr_strips):
        ctx.upsert_pos = (unit_index + 1) * ctx.unit
        ctx.upsert_length = ctx.unit
        ctx.upsert_strip = (unit_index + 1) % ctx.nr_strips
        ctx.upsert_addr = (unit_index + 1) // ctx.nr_strips * ctx.unit"""
EVERYTHING = "    ctx.invalidate_length = ctx.strip_length * ctx.nr_strips"


def upsert(unit, **other):
    """The truth about a unit of the file, or *other* than that."""
    wanted = {
        "upsert_pos": unit * UNIT, "upsert_length": UNIT,
        "upsert_strip": unit % 4, "upsert_addr": unit // 4 * UNIT,
    }  # fmt: skip
    return NOTHING._replace(**wanted | other)


def invalidate(pos, length):
    return NOTHING._replace(invalidate_pos=pos, invalidate_length=length)


class File:
    """A file of two MiB in one raid0 extent behind ``mapper=cache``, nothing of it cached."""

    def __init__(self, path, source=RAID0):
        self.control = make_control(path, mapper="cache", source=source)
        self.core = self.control.core
        self.inode = self.control.names.make(1, b"f", stat.S_IFREG | 0o644, (0, 0))
        trio.run(self._fill)
        self.ino = self.inode.ino
        self.truth = list(blocks(self.core.upcalls.pieces(self.ino, 0, SIZE)))
        self.origin = self.core.upcalls.look_up(self.ino, 0)
        self.core.places.clear()

    async def _fill(self):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.control.points.run)
            await self.control.files.write(self.inode, 0, bytes(SIZE))
            await self.control.points.make()
            nursery.cancel_scope.cancel()

    def follow(self, hints, needed=(0, 0)):
        self.core.hints.follow(self.origin, hints, Allowance(needed))

    def pieces(self, start, end):
        return list(self.core.mapper.pieces(self.ino, start, end))

    def records(self):
        return self.core.places.between(self.ino, 0, HUGE)

    def known(self):
        return {r.offset // UNIT for r in self.records()}

    @property
    def counts(self):
        (counts,) = self.core.hints.counters.values()
        return counts

    def check(self):
        for record in self.records():
            piece = (record.member, record.addr, record.offset, record.end)
            assert list(blocks([piece])) == self.truth[record.offset // 4096 : record.end // 4096]

    def close(self):
        self.core.store.close()
        for member in self.core.members:
            member.close()


def blocks(pieces):
    """Cut pieces into ``(member, addr, position)`` of each block."""
    for member, addr, start, end in pieces:
        yield from ((member, addr + at - start, at) for at in range(start, end, 4096))


@pytest.fixture
def file(tmp_path):
    file = File(tmp_path / "s.db")
    yield file
    file.check()
    file.close()


@pytest.fixture
async def lane(tmp_path, nursery):
    async with living_lane(tmp_path, nursery, "cache") as lane:
        yield lane


@pytest.fixture(scope="module")
def lasting(tmp_path_factory):
    file = File(tmp_path_factory.mktemp("hints") / "s.db")
    yield file
    file.close()


def test_a_true_upsert_saves_a_miss(file):
    file.follow(upsert(5))
    assert file.known() == {5}
    before = file.core.mapper.counters.upcalls, file.core.places.statistics().misses
    assert list(blocks(file.pieces(5 * UNIT, 6 * UNIT))) == file.truth[80:96]
    assert (file.core.mapper.counters.upcalls, file.core.places.statistics().misses) == before
    assert file.counts == HintCounters(upserts=1)


def test_an_invalidation_forgets_that_range_of_that_file_only(file):
    file.pieces(0, SIZE)
    other = file.ino + 1
    for record in file.records():
        file.core.places.upsert(other, record)
    file.follow(invalidate(4 * UNIT, 2 * UNIT))
    assert file.known() == set(range(NR_UNITS)) - {4, 5}
    assert len(file.core.places.between(other, 0, SIZE)) == NR_UNITS
    upcalls = file.core.mapper.counters.upcalls
    file.pieces(0, SIZE)
    assert file.core.mapper.counters.upcalls == upcalls + 2, "a miss for each that is gone"
    assert file.counts == HintCounters(invalidations=1)


def test_what_the_request_at_hand_needs_is_not_forgotten(file):
    file.pieces(0, SIZE)
    file.follow(invalidate(0, SIZE), needed=(6 * UNIT, 8 * UNIT))
    assert file.known() == {6, 7}


def test_a_part_of_a_piece_is_true_as_well(file):
    file.follow(upsert(5, upsert_pos=5 * UNIT + 4096, upsert_addr=UNIT + 4096, upsert_length=8192))
    (record,) = file.records()
    assert (record.offset, record.end) == (5 * UNIT + 4096, 5 * UNIT + 12288)


LIES = {
    "before the extent": upsert(0, upsert_pos=-UNIT),
    "behind the extent": upsert(0, upsert_pos=1 << 40),
    "not a block": upsert(1, upsert_pos=UNIT + 512),
    "not whole blocks": upsert(1, upsert_length=4097),
    "negative length": upsert(1, upsert_length=-UNIT),
    "huge length": upsert(1, upsert_length=HUGE - 4095),
    "sum wraps": upsert(1, upsert_pos=HUGE - 4095, upsert_length=HUGE - 4095),
    "no such strip": upsert(1, upsert_strip=4),
    "negative strip": upsert(1, upsert_strip=-1),
    "other strip": upsert(1, upsert_strip=2),
    "other address": upsert(1, upsert_addr=UNIT),
    "negative address": upsert(1, upsert_addr=-4096),
    "huge address": upsert(1, upsert_addr=HUGE - 4095),
    "odd address": upsert(1, upsert_addr=100),
    "true at its start only": upsert(1, upsert_length=2 * UNIT),
    "overlaps its neighbour": upsert(1, upsert_pos=UNIT // 2),
    "forgets before the extent": invalidate(-4096, 8192),
    "forgets behind the extent": invalidate(4096, HUGE - 8191),
    "forgets a negative length": invalidate(UNIT, -UNIT),
    "forgets half a block": invalidate(0, 100),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_lie_is_refused_counted_and_disturbs_nothing(file, lie, caplog):
    file.pieces(0, 4 * UNIT)
    before = file.records()
    for _ in range(3):
        file.follow(lie)
    assert file.records() == before
    assert file.counts == HintCounters(refused=3)
    (told,) = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert told.getMessage().startswith("program raid0@")
    assert "a hint is refused" in told.getMessage()


SHORT = RAID0.replace("min(ctx.unit - within, ctx.count)", "4096")


def test_an_upsert_makes_one_record_of_many_short_answers(tmp_path):
    file = File(tmp_path / "s.db", SHORT)
    file.follow(upsert(1))
    (record,) = file.records()
    assert (record.offset, record.end) == (UNIT, 2 * UNIT)
    file.check()
    file.close()


def test_a_mapping_that_takes_too_many_answers_is_refused(tmp_path):
    file = File(tmp_path / "s.db", SHORT)
    engine = file.core.engine
    engine.pieces = lambda words, pos, end, limit=3: type(engine).pieces(
        engine, words, pos, end, min(limit, 3)
    )
    file.follow(upsert(1, upsert_length=4 * 4096))
    assert file.counts == HintCounters(upserts=1)
    file.follow(upsert(2, upsert_length=5 * 4096))
    assert file.counts == HintCounters(upserts=1, refused=1)
    assert file.known() == {1}
    file.close()


def test_a_length_of_zero_asks_for_nothing(file):
    file.follow(upsert(1, upsert_length=0, upsert_strip=77)._replace(invalidate_pos=-5))
    assert file.records() == []
    assert file.core.hints.counters == {}


def test_space_that_was_trimmed_away_is_no_lie(file):
    trimmed = file.origin.extent.trimmed(4 * UNIT)
    origin = file.core.upcalls.look_up(file.ino, 0)._replace(
        extent=trimmed, words=file.core.slow.encode(trimmed)
    )
    file.core.hints.follow(origin, upsert(5), Allowance((0, 0)))
    assert file.records() == []
    file.core.hints.follow(origin, upsert(3), Allowance((0, 0)))
    assert file.known() == {3}
    assert file.counts == HintCounters(upserts=1, trimmed=1)


def test_hints_are_told_in_statistics(file):
    file.follow(upsert(1))
    told = report.statistics(file.core, file.control.points)["programs"]["hints"]
    assert list(told.values()) == [{"upserts": 1, "invalidations": 0, "trimmed": 0, "refused": 0}]


def test_a_circle_of_hints_ends(file):
    asked = []
    real = file.core.engine.ask

    def ask(words, pos, end):
        asked.append(pos)
        return real(words, pos, end)[0], upsert(len(asked) % 2)

    file.core.engine.ask = ask
    file.pieces(0, 4096)
    assert len(asked) == 1 + FOLLOWED
    file.core.places.clear()
    asked.clear()
    file.pieces(0, SIZE)
    assert len(asked) <= NR_UNITS + ANSWERS, "and a request with many misses, too"


def test_a_program_that_names_the_next_unit_has_the_rows_known_at_once(tmp_path):
    file = File(tmp_path / "s.db", HINTED.format(NEXT_UNIT))
    counters, before = file.core.mapper.counters, file.core.mapper.counters.upcalls
    file.pieces(0, 4096)
    assert file.known() == set(range(8)), "to the end of the second row"
    assert counters.upcalls == before + 1
    file.pieces(0, SIZE)
    assert counters.upcalls == before + NR_UNITS // 8
    file.check()
    file.close()


def test_a_program_that_forgets_everything_is_answered_all_the_same(tmp_path):
    file = File(tmp_path / "s.db", HINTED.format(EVERYTHING))
    assert list(blocks(file.pieces(0, SIZE))) == file.truth
    assert file.known() == set(range(NR_UNITS)), "this request needed it all"
    file.core.places.invalidate(file.ino, 0, 4096)
    file.pieces(0, 4096)
    assert file.known() == {0}
    file.close()


EDGES = [0, 1, -1, 4096, -4096, UNIT, 3 * UNIT, SIZE, SIZE - 4096, HUGE, -HUGE - 1, HUGE - 4095]
near = st.one_of(
    st.sampled_from(EDGES),
    st.integers(-2, NR_UNITS + 2).map(lambda n: n * UNIT),
    st.integers(-HUGE - 1, HUGE),
)
any_hints = st.one_of(
    st.builds(Hints, near, near, st.integers(-1, 5), near, near, near),
    st.builds(upsert, st.integers(0, NR_UNITS - 1)),
    st.builds(upsert, st.integers(0, NR_UNITS - 1), upsert_strip=st.integers(0, 3)),
    st.builds(
        invalidate, st.integers(0, SIZE >> 12).map(lambda n: n << 12),
        st.integers(0, SIZE >> 12).map(lambda n: n << 12),
    ),
)  # fmt: skip
ranges = st.tuples(st.integers(0, SIZE - 1), st.integers(1, SIZE)).map(
    lambda pair: (pair[0], min(SIZE, sum(pair)))
)


@settings(max_examples=200, deadline=None)
@given(hints=st.lists(any_hints, min_size=1, max_size=30), asked=st.lists(ranges, max_size=6))
def test_with_any_hints_whatsoever_the_answers_are_those_without(lasting, hints, asked):
    file, supply = lasting, itertools.cycle(hints)
    engine = file.core.engine
    file.core.places.clear()
    engine.ask = lambda *given: (type(engine).ask(engine, *given)[0], next(supply))
    try:
        for start, end in asked:
            found = file.pieces(start, end)
            assert [found[0][2], found[-1][3]] == [start, end]
            low = start // 4096 * 4096
            member, addr, first, last = found[0]
            found[0] = (member, addr - (first - low), low, last)
            assert list(blocks(found)) == file.truth[low // 4096 : -(-end // 4096)]
            file.check()
    finally:
        del engine.ask


async def test_what_hints_leave_behind_a_miss_is_shown_to_lanes_at_once(lane):
    inode = await hinting(lane, NEXT_UNIT)
    assert await lane.ask(inode.ino, 0, 4096) == SERVE
    assert table_of(lane, inode) == [n * UNIT for n in range(8)]
    upcalls = lane.control.core.mapper.counters.upcalls
    assert await lane.ask(inode.ino, 8 * UNIT, 4096) == SERVE
    assert table_of(lane, inode) == [n * UNIT for n in range(16)]
    assert lane.control.core.mapper.counters.upcalls == upcalls + 1


async def test_what_is_forgotten_goes_from_the_lanes_too(lane):
    inode = await hinting(lane, EVERYTHING)
    assert await lane.ask(inode.ino, 0, 4 * UNIT) == SERVE
    assert table_of(lane, inode) == [n * UNIT for n in range(4)], "what it needs is shown"
    assert await lane.ask(inode.ino, 8 * UNIT, UNIT) == SERVE
    assert table_of(lane, inode) == [8 * UNIT]


async def hinting(lane, words):
    """A file under a program with hints, nothing of it cached."""
    control = lane.control
    await control.layouts.set(control.core.inode(1), program="m", source=HINTED.format(words))
    inode = new_file(lane)
    await control.files.write(inode, 0, bytes(SIZE))
    control.core.places.forget(inode.ino)
    return inode


def table_of(lane, inode):
    """Where the records that lanes see begin."""
    table = load64(lane.entry(inode.ino) + PLACES)
    return [load64(table + 8 + 32 * index) for index in range(load64(table))]
