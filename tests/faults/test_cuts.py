# SPDX-License-Identifier: MIT
"""Power cuts: each state made from logs is one that the rules allow, to the byte.

The oracle below never looks into a log.  It keeps what a script of operations made of
each file after every step, and takes from these whole versions, sector by sector, what
a cut says has reached the media.
"""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.cuts import (
    Cut,
    Replay,
    cut_points,
    describe,
    extreme_cuts,
    materialize,
    random_cut,
    unflushed,
)
from tests.faults.log import SECTOR, Clock, Kind, LogWriter, read_log
from tests.mounted.harness import soak

SIZE_MAX = 5 * SECTOR
FILES = ("a.img", "b.img", "v.db")
NAMES = (*FILES, "new")
POSITIONS = st.integers(0, SIZE_MAX)

OPERATIONS = st.one_of(
    st.tuples(
        st.just("write"), st.sampled_from(FILES), POSITIONS, st.integers(1, 1800), st.booleans()
    ),
    st.tuples(st.just("write"), st.sampled_from(FILES), POSITIONS, st.just(SECTOR), st.just(False)),
    st.tuples(st.just("truncate"), st.sampled_from(FILES), POSITIONS),
    st.tuples(st.just("flush"), st.sampled_from(FILES)),
    st.tuples(st.just("rename"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
    st.tuples(st.just("unlink"), st.sampled_from(NAMES)),
    st.tuples(st.just("dirsync")),
    st.tuples(st.just("mark")),
)
# Without a lower bound hypothesis makes lists of five on average: hardly a flush.
SCRIPTS = st.lists(OPERATIONS, min_size=15, max_size=45)
SEEDS = st.integers(0, 1 << 32)
PATTERN = bytes(range(1, 256)) * 9


class Script:
    """Files in memory, their logs, and every version they went through."""

    def __init__(self, base):
        self.base, self.clock, self.step = base, Clock(), 0
        self.content = {name: bytearray() for name in FILES}
        self.writers = {name: self._writer(name) for name in FILES}
        self.directory = LogWriter(base / "..log", self.clock, bytes)
        self.names = {}
        # By file: (what, content after it), one for each entry of its log.
        self.versions = {name: [("file", b"", None)] for name in FILES}
        self.listings = []  # (is it a dirsync, names after it)
        for number, name in enumerate(FILES):
            self.writers[name].mark(f"file {number}", Kind.FILE)
            self._name(f"create {number} {name}", {name: name})
        self.dirsync()

    def _writer(self, name):
        content = self.content[name]
        return LogWriter(
            self.base / f"{name}.log", self.clock, lambda n, at: bytes(content[at : at + n])
        )

    def _name(self, text, added=None, removed=()):
        self.directory.mark(text, Kind.NAME)
        kept = {name: file for name, file in self.names.items() if name not in removed}
        self.names = {**kept, **(added or {})}
        self.listings.append(("name", self.names))

    def _done(self, name, what, detail=None):
        self.versions[name].append((what, bytes(self.content[name]), detail))

    def write(self, name, offset, length, durable):
        content = self.content[name]
        self.step += 1
        # No two steps write the same byte to the same place.
        shift = (self.step * 31 + offset) % 255
        data = PATTERN[shift : shift + length]
        content.extend(bytes(max(0, offset + length - len(content))))
        content[offset : offset + length] = data
        self.writers[name].write(offset, data, durable=durable)
        self._done(name, "durable" if durable else "write", (offset, offset + length))

    def truncate(self, name, size):
        content = self.content[name]
        content.extend(bytes(max(0, size - len(content))))
        del content[size:]
        self.writers[name].truncate(size)
        self._done(name, "truncate", size)

    def flush(self, name):
        self.writers[name].flush()
        self._done(name, "flush")

    def rename(self, old, new):
        if old in self.names and old != new:
            self._name(f"rename {old} {new}", {new: self.names[old]}, removed=(old,))

    def unlink(self, name):
        if name in self.names:
            self._name(f"unlink {name}", removed=(name,))

    def dirsync(self):
        self.directory.mark("dirsync", Kind.FLUSH)
        self.listings.append(("dirsync", self.names))

    def mark(self):
        sequence = self.clock.tick()
        for name, writer in self.writers.items():
            writer.mark("mark", sequence=sequence)
            self._done(name, "mark")
        self.directory.mark("mark", sequence=sequence)
        self.listings.append(("mark", self.names))

    def run(self, operations):
        for what, *arguments in operations:
            getattr(self, what)(*arguments)
        return self.end()

    def end(self):
        for writer in (*self.writers.values(), self.directory):
            writer.close()
        self.logs = {name: read_log(self.base / f"{name}.log") for name in (*FILES, ".")}
        return self.logs

    # --- the oracle -------------------------------------------------------

    def expected(self, cut):
        """Name -> content after *cut*."""
        happened = self._happened(".", self.listings, cut.instant)
        durable = max((i for i, (what, _) in enumerate(happened) if what == "dirsync"), default=-1)
        changes = [i for i, (what, _) in enumerate(happened) if what == "name" and i > durable]
        there = [i for i in changes if i in cut.kept.get(".", ())]
        # A prefix, so the last change that is there decides; before any, the last dirsync.
        last = there[-1] if there else durable
        names = happened[last][1] if last >= 0 else {}
        return {name: self._content(file, cut) for name, file in names.items()}

    def _happened(self, name, records, instant):
        before = [entry.sequence <= instant for entry in self.logs[name]]
        return records[: sum(before)]

    def _content(self, name, cut):
        happened = self._happened(name, self.versions[name], cut.instant)
        flushed = max(i for i, (what, *_) in enumerate(happened) if what in ("file", "flush"))
        content = bytearray(happened[flushed][1])
        later = range(flushed + 1, len(happened))
        synced = max((i for i in later if happened[i][0] == "durable"), default=0)
        for index in later:
            what, version, detail = happened[index]
            ordered = what == "truncate" and index < synced
            if what == "durable" or ordered or index in cut.kept.get(name, ()):
                torn = cut.torn.get(name, {}).get(index) if what == "write" else None
                content = self._with(content, what, version, detail, torn)
        return bytes(content)

    def _with(self, content, what, version, detail, torn):
        if what == "truncate":
            return (content + bytes(max(0, detail - len(content))))[:detail]
        start, end = detail
        first = start // SECTOR
        there = [
            sector
            for sector in range(first, (end - 1) // SECTOR + 1)
            if torn is None or sector - first in torn
        ]
        for sector in there:
            at, stop = sector * SECTOR, (sector + 1) * SECTOR
            size = max(len(content), min(end, stop))
            content += bytes(size - len(content))
            content[at:stop] = version[at : min(stop, size)]
        return content


@pytest.fixture
def script(tmp_path):
    return Script(tmp_path)


def files_in(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@settings(max_examples=soak(40))
@given(operations=SCRIPTS, seed=SEEDS)
def test_states_are_what_the_rules_allow(tmp_path_factory, operations, seed):
    base = tmp_path_factory.mktemp("cut")
    script, random = Script(base), Random(seed)
    logs = script.run(operations)
    replay = Replay(logs)
    for _ in range(6):  # not ascending: an image may have to begin anew
        instant = random.randint(1, script.clock.now)
        extreme = random.choice(extreme_cuts(logs, instant))
        for cut in (random_cut(logs, instant, random), extreme):
            replay.materialize(cut, base / "state")
            assert files_in(base / "state") == script.expected(cut), describe(logs, cut)


@settings(max_examples=soak(40))
@given(operations=SCRIPTS, seed=SEEDS)
def test_random_cuts_keep_the_order_that_is_promised(tmp_path_factory, operations, seed):
    script, random = Script(tmp_path_factory.mktemp("cut")), Random(seed)
    logs = script.run(operations)
    for instant in cut_points(logs, random, 5):
        cut = random_cut(logs, instant, random)
        for name, kept in cut.kept.items():
            loose = unflushed(logs[name], instant)
            assert kept <= set(loose)
            assert set(cut.torn.get(name, ())) <= kept
            lost = [i for i in loose if i not in kept]
            ordered = (Kind.NAME, Kind.TRUNCATE)
            barrier = min((i for i in lost if logs[name][i].kind in ordered), default=None)
            assert barrier is None or not [i for i in kept if i > barrier]


def test_the_end_with_all_there_is_what_the_files_hold(script, tmp_path):
    script.write("a.img", 700, 900, False)
    script.truncate("a.img", 1000)
    script.write("v.db", 10, 10, False)
    script.rename("v.db", "new")
    logs = script.end()
    everything = {name: frozenset(unflushed(log, 100)) for name, log in logs.items()}
    materialize(logs, Cut(100, everything), tmp_path / "state")
    assert files_in(tmp_path / "state") == {
        "a.img": bytes(script.content["a.img"]),
        "b.img": b"",
        "new": bytes(script.content["v.db"]),
    }


def test_a_directory_is_emptied_before_a_state_is_made_in_it(script, tmp_path):
    logs = script.end()
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "v.db-wal").write_bytes(b"of another state")
    materialize(logs, Cut(100), tmp_path / "state")
    assert set(files_in(tmp_path / "state")) == set(FILES)


def test_a_durable_write_carries_the_truncates_before_it(script, tmp_path):
    script.write("a.img", 0, 2000, False)
    script.flush("a.img")
    script.truncate("a.img", 600)
    script.write("a.img", 0, SECTOR, False)
    lost = len(script.versions["a.img"]) - 1
    script.write("a.img", 1000, 100, True)
    logs = script.end()
    assert unflushed(logs["a.img"], 100) == [lost]
    materialize(logs, Cut(100), tmp_path / "state")
    _, flushed, *_ = script.versions["a.img"][1:]
    expected = flushed[1][:600] + bytes(400) + bytes(script.content["a.img"])[1000:1100]
    assert files_in(tmp_path / "state")["a.img"] == expected


def test_a_torn_extension_ends_with_its_last_sector(script, tmp_path):
    script.write("a.img", 100, 3 * SECTOR, False)
    logs = script.end()
    loose = dict.fromkeys(["a.img"], frozenset(unflushed(logs["a.img"], 100)))
    (index,) = loose["a.img"]
    for sectors, size in (({0}, SECTOR), ({2}, 3 * SECTOR), ({3}, 100 + 3 * SECTOR), ((), 0)):
        cut = Cut(100, loose, {"a.img": {index: frozenset(sectors)}})
        materialize(logs, cut, tmp_path / "state")
        whole = bytes(script.content["a.img"])
        assert files_in(tmp_path / "state")["a.img"] == b"".join(
            whole[at : min(at + SECTOR, size)] if at // SECTOR in sectors else bytes(SECTOR)
            for at in range(0, size, SECTOR)
        )


def test_untouched_parts_of_an_image_stay_holes(script, tmp_path):
    script.truncate("a.img", 64 << 20)
    script.write("a.img", 40 << 20, 5000, False)
    script.flush("a.img")
    materialize(script.end(), Cut(100), tmp_path / "state")
    found = (tmp_path / "state" / "a.img").stat()
    assert found.st_size == 64 << 20
    assert found.st_blocks * 512 <= 256 << 10


def test_flushes_and_marks_are_cut_at_and_before(script):
    script.write("a.img", 0, 10, False)
    start = script.clock.now
    script.flush("a.img")
    script.write("a.img", 0, 10, False)
    script.write("a.img", 0, 10, False)
    script.mark()
    points = [p for p in cut_points(script.end()) if p >= start]
    assert points == [start, start + 1, start + 3, start + 4]


def test_the_extremes_are_all_but_one_and_one_alone(script):
    script.unlink("b.img")
    for name in FILES:
        script.write(name, 0, 10, False)
    cuts = extreme_cuts(script.end(), 100)
    choices = {frozenset(cut.kept) - {"."} for cut in cuts if "." in cut.kept}
    a, b, v = ({name} for name in FILES)
    assert choices == {frozenset(c) for c in ((), a, b, v, a | b, a | v, b | v, a | b | v)}
    assert len(cuts) == 2 * len(choices)  # the same once more, with b.img still there
