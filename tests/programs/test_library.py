# SPDX-License-Identifier: MIT
"""The shipped programs as plain Python: each against a reference, and each one to one."""

import re
import runpy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iomapd.abi import HANDLED
from iomapd.abi.program import CTX_HINTS, CTX_IN, CTX_OUT, CTX_WORDS, NR_WORDS
from iomapd.abi.shipped import shipped_dir
from iomapd.abi.units import BLOCK
from iomapd.jit.admission.interpret import interpret
from iomapd.jit.admission.parse import parse_program
from tests.programs import references
from tests.programs.references import Geometry

KIB = 1 << 10
MIB = 1 << 20
PREFIX = {"raid0", "readahead", "rotated", "declustered", "xor_interleave"}
FIXED = {"linear", "interleave", "reverse", "ceph"}
FILES = {path.stem: path for path in sorted(shipped_dir("programs").glob("*.py"))}
MODULES = {name: runpy.run_path(str(path)) for name, path in FILES.items()}
INTERPRETED = {
    name: interpret(parse_program(name, path.read_text(), str(path)))
    for name, path in FILES.items()
}

each_program = pytest.mark.parametrize("name", FILES)


class Ctx:
    """The record as a program may use it: inputs cannot be set, nothing else can be read."""

    def __init__(self, **inputs):
        vars(self).update(inputs)

    def __setattr__(self, field, value):
        assert field in CTX_OUT | CTX_HINTS, f"{field} is no output"
        assert -(1 << 63) <= value < 1 << 63, f"{field} = {value} would wrap"
        vars(self)[field] = value


def ask(name, geometry, pos):
    """What the program answers for *pos*: (strip, addr, length)."""
    module = MODULES[name]
    params = dict(zip(module.get("PARAMS", ()), geometry.params, strict=True))
    inputs = {
        "pos": pos,
        "count": geometry.total - pos,
        "unit": geometry.unit,
        "nr_strips": geometry.nr_strips,
        "strip_length": geometry.strip_length,
        "seed": geometry.seed,
    }
    assert inputs.keys() <= CTX_IN
    ctx = Ctx(**inputs, **params)
    assert module["iomap_begin"](ctx) == HANDLED
    return ctx.strip, ctx.addr, ctx.length


def geometry_for(name, unit, nr_strips, rows, seed=1, chunk=None):
    size = 4 * unit if chunk is None else chunk
    params = {"interleave": (size,), "ceph": (3 if chunk is None else chunk >> 16, size)}
    return Geometry(unit, nr_strips, rows, seed, params.get(name, ()))


def strips_of(name, geometry):
    """The map of a program unit by unit, in the form of the references."""
    strips = [[None] * geometry.rows for _ in range(geometry.nr_strips)]
    for index in range(geometry.rows * geometry.nr_strips):
        strip, addr, _ = ask(name, geometry, index * geometry.unit)
        assert addr % geometry.unit == 0
        strips[strip][addr // geometry.unit] = index
    return strips


def check_every_block(name, geometry):
    """Ask for every block: in range, aligned, progress, one to one, pieces that agree."""
    seen = set()
    expected = None  # what an earlier, longer answer said about this block
    for pos in range(0, geometry.total, BLOCK):
        strip, addr, length = ask(name, geometry, pos)
        assert 0 <= strip < geometry.nr_strips
        assert length > 0
        assert addr % BLOCK == length % BLOCK == 0
        assert 0 <= addr <= geometry.strip_length - length
        assert length <= geometry.total - pos
        assert (strip, addr) not in seen
        seen.add((strip, addr))
        if expected is not None:
            assert (strip, addr) == expected[:2]
            assert length >= expected[2]
        expected = (strip, addr + BLOCK, length - BLOCK) if length > BLOCK else None
    assert expected is None
    assert len(seen) == geometry.total // BLOCK


def test_every_program_is_in_one_class():
    assert set(FILES) == PREFIX | FIXED


@each_program
@pytest.mark.parametrize("nr_strips", [1, 2, 3, 4, 5, 7, 8, 12, 16])
def test_a_program_is_its_reference(name, nr_strips):
    reference = getattr(references, name)
    for rows in (1, 2, 3, 4, 7, 8, 13):
        for seed in (1, 2, 7, 12345, (1 << 40) + 3):
            geometry = geometry_for(name, 64 * KIB, nr_strips, rows, seed)
            assert strips_of(name, geometry) == reference(geometry), geometry


@each_program
@pytest.mark.parametrize("nr_strips", [1, 2, 3, 4, 5, 6, 8, 9, 16])
def test_a_program_is_one_to_one(name, nr_strips):
    for unit in (4 * KIB, 12 * KIB, 64 * KIB):
        for rows in (1, 2, 5):
            check_every_block(name, geometry_for(name, unit, nr_strips, rows))


@each_program
@pytest.mark.parametrize("nr_strips", [63, 64])
def test_a_program_is_one_to_one_on_the_widest_volume(name, nr_strips):
    check_every_block(name, geometry_for(name, 4 * KIB, nr_strips, 9))


@each_program
@given(
    blocks=st.integers(1, 5),
    nr_strips=st.integers(1, 12),
    rows=st.integers(1, 12),
    seed=st.integers(-(1 << 63), (1 << 63) - 1),
    chunk=st.one_of(st.integers(-(1 << 63), (1 << 63) - 1), st.integers(0, MIB)),
)
def test_no_seed_and_no_parameter_breaks_it(name, blocks, nr_strips, rows, seed, chunk):
    geometry = geometry_for(name, blocks * BLOCK, nr_strips, rows, seed, chunk)
    check_every_block(name, geometry)
    assert strips_of(name, geometry) == getattr(references, name)(geometry)


@each_program
@given(
    unit=st.sampled_from([4 * KIB, 64 * KIB, 4 * MIB]),
    nr_strips=st.integers(1, 64),
    rows=st.integers(1, 1 << 30),
    place=st.floats(0, 1),
    seed=st.integers(1, 1 << 62),
)
def test_a_large_extent_is_answered_in_range(name, unit, nr_strips, rows, place, seed):
    geometry = geometry_for(name, unit, nr_strips, rows, seed)
    pos = min(int(geometry.total * place), geometry.total - 1) // BLOCK * BLOCK
    strip, addr, length = ask(name, geometry, pos)
    assert 0 <= strip < nr_strips
    assert 0 <= addr <= geometry.strip_length - length
    # The last block that the answer covers says the same.
    again = ask(name, geometry, pos + length - BLOCK)
    assert again[:2] == (strip, addr + length - BLOCK)


@each_program
def test_prefix_programs_map_the_head_of_a_file_alike_whatever_the_length(name):
    alike, inside = True, True
    for nr_strips in (2, 3, 4, 8):
        for rows in (1, 2, 4, 7):
            short = geometry_for(name, 64 * KIB, nr_strips, rows)
            long = geometry_for(name, 64 * KIB, nr_strips, 2 * rows)
            for pos in range(0, short.total, short.unit):
                answer = ask(name, long, pos)
                row = pos // (short.unit * nr_strips)
                alike &= ask(name, short, pos) == answer
                inside &= answer[1] + answer[2] <= (row + 1) * short.unit
    assert (alike and inside) == (name in PREFIX)


@each_program
@given(
    unit=st.sampled_from([4 * KIB, 12 * KIB, 4 * MIB]),
    nr_strips=st.integers(1, 64),
    rows=st.integers(1, 1 << 24),
    place=st.floats(0, 1),
    seed=st.integers(-(1 << 63), (1 << 63) - 1),
    chunk=st.integers(-(1 << 63), (1 << 63) - 1),
)
def test_nothing_wraps(name, unit, nr_strips, rows, place, seed, chunk):
    # The interpreter of admission cuts to 64 bits, plain Python does not: they agree.
    geometry = geometry_for(name, unit, nr_strips, rows, seed, chunk)
    pos = min(int(geometry.total * place), geometry.total - 1) // BLOCK * BLOCK
    words = [pos, geometry.total - pos, unit, nr_strips, geometry.strip_length, seed]
    words += [*geometry.params, *(0,) * (NR_WORDS - len(words) - len(geometry.params))]
    assert INTERPRETED[name](words) == HANDLED
    first = CTX_WORDS.index("strip")
    assert tuple(words[first : first + 3]) == ask(name, geometry, pos)


@pytest.mark.parametrize("nr_strips", [1, 2, 3, 4, 5, 64])
def test_readahead_hints_at_what_it_would_answer(nr_strips):
    geometry = Geometry(12 * KIB, nr_strips, 20)
    end = geometry.total
    for pos in range(0, end, BLOCK):
        words = [pos, end - pos, geometry.unit, nr_strips, geometry.strip_length, 1]
        words += [0] * (NR_WORDS - len(words))
        assert INTERPRETED["readahead"](words) == HANDLED
        wanted, length, *place = (words[17 + index] for index in range(4))
        window_ends = (pos // geometry.unit + 1) % (8 * nr_strips) == 0
        assert (length == 0) == (window_ends or end - pos <= geometry.unit - pos % geometry.unit)
        if length:
            assert ask("readahead", geometry, wanted) == (*place, length)
            assert wanted == pos // geometry.unit * geometry.unit + geometry.unit


@pytest.mark.parametrize("nr_strips", [2, 3, 4, 5, 8])
def test_interleave_by_units_is_raid0(nr_strips):
    geometry = geometry_for("interleave", 64 * KIB, nr_strips, 9, chunk=64 * KIB)
    assert strips_of("interleave", geometry) == references.raid0(geometry)


@pytest.mark.parametrize("name", ["declustered", "xor_interleave"])
@pytest.mark.parametrize("nr_strips", [4, 5, 8])
def test_a_stride_of_a_row_meets_every_strip(name, nr_strips):
    geometry = geometry_for(name, 4 * KIB, nr_strips, 40)
    stride = geometry.unit * nr_strips
    met = {ask(name, geometry, pos)[0] for pos in range(0, geometry.total, stride)}
    assert met == set(range(nr_strips))


@pytest.mark.parametrize("nr_strips", [2, 3, 4, 5, 8, 16])
@pytest.mark.parametrize("shift", [0, 1, 3])
def test_rotated_files_start_everywhere_alike(nr_strips, shift):
    # Also where the strips of file i are themselves shifted by a multiple of i.
    counts = [0] * nr_strips
    for ino in range(1000, 2000):
        strip, _, _ = ask("rotated", Geometry(4 * KIB, nr_strips, 1, ino), 0)
        counts[(strip + shift * ino) % nr_strips] += 1
    assert max(counts) - min(counts) <= 0.1 * sum(counts) / nr_strips + 5


def test_declustered_files_differ():
    layouts = [strips_of("declustered", Geometry(4 * KIB, 4, 8, seed)) for seed in range(20)]
    assert all(layouts.count(layout) == 1 for layout in layouts)


@pytest.mark.parametrize("nr_strips", [4, 7, 16])
def test_declustered_loads_all_strips_alike(nr_strips):
    # Column 0 of 4000 rows: each strip has its share, give or take five deviations.
    geometry = Geometry(4 * KIB, nr_strips, 4000, seed=77)
    counts = [0] * nr_strips
    for row in range(geometry.rows):
        counts[ask("declustered", geometry, row * nr_strips * geometry.unit)[0]] += 1
    share = geometry.rows / nr_strips
    assert all(abs(count - share) < 5 * share**0.5 for count in counts)


PICTURED = {
    "ceph": [Geometry(64 * KIB, 4, 5, 6, (2, 256 * KIB))],
    "raid0": [],
    "readahead": [],
    "linear": [Geometry(64 * KIB, 4, 4)],
    "rotated": [Geometry(64 * KIB, 4, 2, 3), Geometry(64 * KIB, 4, 2, 4)],
    "interleave": [Geometry(64 * KIB, 4, 5, params=(128 * KIB,))],
    "reverse": [Geometry(64 * KIB, 4, 4)],
    "declustered": [Geometry(64 * KIB, 4, 4, 6)],
    "xor_interleave": [Geometry(64 * KIB, 4, 5)],
}


@each_program
def test_the_picture_shows_what_the_program_does(name):
    shown = []
    for line in MODULES[name]["__doc__"].splitlines():
        if row := re.match(r" {12,}(\d+(?: +\d+)*)", line):
            shown.append([int(number) for number in row[1].split()])
    drawn = [zip(*strips_of(name, geometry), strict=True) for geometry in PICTURED[name]]
    beside = [[unit for part in parts for unit in part] for parts in zip(*drawn, strict=True)]
    assert shown == beside
