# SPDX-License-Identifier: MIT
"""Layouts as grids: programs, broken ones too, files of a mount, and two programs compared."""

import re
from pathlib import Path

import pytest

from iomapd.abi import FALLBACK, HANDLED
from iomapd.abi.program import CTX_WORDS
from iomapd.abi.shipped import shipped_dir
from iomapd.errors import ProgramError, UsageError
from iomapd.jit.admission import Geometry
from iomapd.tools.draw import Piece, cell_size, draw_program, walk
from iomapd.tools.draw_diff import compare
from iomapd.tools.draw_file import draw_file
from iomapd.tools.draw_source import Extent, is_program, open_program, split_params

KIB = 1 << 10
UNIT = 64 * KIB
FOUR_BY_FOUR = Geometry(UNIT, 4, 4 * UNIT, 1)


def answering(formula):
    """A program from a function of pos that gives (strip, addr, length)."""

    def begin(words):
        strip, addr, length = formula(words[CTX_WORDS.index("pos")])
        place = CTX_WORDS.index("strip")
        words[place : place + 3] = [strip, addr, length]
        return HANDLED

    return begin


def raid0(pos):
    row, column = divmod(pos // UNIT, 4)
    return column, row * UNIT + pos % UNIT, UNIT - pos % UNIT


def picture(formula, geometry=FOUR_BY_FOUR):
    pieces = walk(answering(formula), geometry, "p")
    return draw_program("p", pieces, geometry, cell=cell_size(geometry.unit, pieces))


def labels(drawing):
    return [[cell.label if cell else "" for cell in row] for row in drawing.grid]


def test_a_program_is_drawn_by_strip_and_address():
    drawing = picture(raid0)
    assert labels(drawing) == [[str(4 * row + strip) for strip in range(4)] for row in range(4)]
    assert drawing.columns == ("strip 0", "strip 1", "strip 2", "strip 3")
    assert drawing.rows == ("0", "64KiB", "128KiB", "192KiB")
    assert drawing.caption == "unit 64KiB, 4 strips of 256KiB, seed 1"
    assert drawing.notes == ()
    cell = drawing.grid[1][2]
    assert cell.words == "6: file 384KiB to 448KiB, strip 2 at 64KiB"
    assert cell.column == 2
    assert [row[0].tone for row in drawing.grid] == [0, 1 / 3, 2 / 3, 1]


def test_every_input_is_handed_over():
    seen = []

    def begin(words):
        seen.append(dict(zip(CTX_WORDS, words, strict=False)))
        return answering(raid0)(words)

    walk(begin, Geometry(UNIT, 4, 2 * UNIT, 77, (5, 6)), "p")
    first, last = seen[0], seen[-1]
    assert first.items() >= {"pos": 0, "count": 8 * UNIT, "unit": UNIT, "nr_strips": 4}.items()
    assert first.items() >= {"strip_length": 2 * UNIT, "seed": 77, "p0": 5, "p1": 6}.items()
    assert last.items() >= {"pos": 7 * UNIT, "count": UNIT, "p2": 0}.items()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((4, 0, UNIT), "strip 4 is not in 0..3"),
        ((-1, 0, UNIT), "strip -1 is not in 0..3"),
        ((0, 0, 0), "addr 0, length 0: must be multiples of 4096, length positive"),
        ((0, 0, -4096), "addr 0, length -4096: must be"),
        ((0, 100, UNIT), "addr 100, length 65536: must be"),
        ((0, 0, 100), "addr 0, length 100: must be"),
        ((0, -4096, UNIT), "addr -4096 + 65536 leaves the strip of 262144 bytes"),
        ((0, 4 * UNIT, UNIT), "addr 262144 + 65536 leaves the strip"),
        ((0, 1 << 62, UNIT), "addr 4611686018427387904 + 65536 leaves the strip"),
    ],
)
def test_what_cannot_be_drawn_is_said(answer, words):
    with pytest.raises(ProgramError, match=re.escape(f"p: pos 0: {words}")):
        picture(lambda pos: answer)


def test_a_program_that_falls_back_is_named():
    with pytest.raises(ProgramError, match="p: pos 0: the answer is 0, not HANDLED"):
        walk(lambda words: FALLBACK, FOUR_BY_FOUR, "p")


def test_clashes_and_holes_are_drawn_and_counted():
    # Unit 5 goes where unit 4 is.
    drawing = picture(lambda pos: raid0(4 * UNIT if pos == 5 * UNIT else pos))
    assert drawing.grid[1][0].numbers == (4, 5)
    assert drawing.grid[1][1] is None
    assert drawing.notes == ("not one to one: 1 places are claimed twice or more, 1 by none",)


def test_cells_are_small_enough_for_a_program_that_cuts_units():
    def halves(pos):
        strip, addr, _ = raid0(pos)
        half = addr // (UNIT // 2) % 2
        return strip, addr + (UNIT // 2 if half == 0 else -UNIT // 2), UNIT // 2

    drawing = picture(halves)
    assert len(drawing.grid) == 8
    assert labels(drawing)[:2] == [["1", "3", "5", "7"], ["0", "2", "4", "6"]]
    assert drawing.notes == ("the program cuts units: a cell is 32KiB",)
    # Both halves of a unit have the hue of the unit.
    assert drawing.grid[0][1].column == drawing.grid[1][1].column == 1


def test_there_is_an_end_to_what_is_drawn():
    with pytest.raises(UsageError, match="at most 16384 units are drawn"):
        Extent(UNIT, 4, 10_000, 1)
    with pytest.raises(UsageError, match="p: more than 16384 pieces"):
        walk(answering(lambda pos: (0, 0, 4096)), Geometry(1 << 30, 4, 1 << 30), "p")
    with pytest.raises(UsageError, match="at most 16384 are drawn"):
        draw_program("p", [Piece(0, 4096, 0, 0)], Geometry(1 << 30, 1, 1 << 30), cell=4096)


def test_a_shipped_program_is_drawn():
    program = open_program("reverse")
    geometry = program.geometry(Extent(UNIT, 4, 2, 1), {})
    drawing = draw_program("reverse", program.walk(geometry), geometry, cell=UNIT)
    assert labels(drawing) == [["7", "6", "5", "4"], ["3", "2", "1", "0"]]


def test_a_program_of_ones_own_is_only_read(tmp_path):
    mark = tmp_path / "executed"
    program = tmp_path / "mine.py"
    program.write_text(f"open({str(mark)!r}, 'w')\ndef iomap_begin(ctx):\n    return 1\n")
    with pytest.raises(ProgramError, match=rf"{program}:1: "):
        open_program(str(program))
    assert not mark.exists()


@pytest.mark.parametrize(
    ("extent", "given", "words"),
    [
        ((5000, 4, 8, 1), {"chunk": 1}, "unit 5000: must be a positive multiple of 4KiB"),
        ((0, 4, 8, 1), {"chunk": 1}, "unit 0: must be"),
        ((1 << 62, 4, 8, 1), {"chunk": 1}, "no longer than a file can be"),
        ((UNIT, 4, 8, 1 << 63), {}, "--seed 9223372036854775808: must be a signed 64-bit"),
        ((UNIT, 4, 8, 1), {}, '--param: program interleave needs parameter "chunk"'),
        ((UNIT, 4, 8, 1), {"grain": 1}, 'parameter "grain" = 1: program interleave takes chunk'),
    ],
)
def test_a_wrong_geometry_is_refused_in_words(extent, given, words):
    with pytest.raises((UsageError, ProgramError), match=re.escape(words)):
        open_program("interleave").geometry(Extent(*extent), given)


def test_names_of_programs():
    assert all(is_program(path.stem) for path in shipped_dir("programs").glob("*.py"))
    assert is_program("./some/where.py")
    assert not is_program("/etc/passwd")


def body(*extents):
    keys = ("offset", "length", "type", "member", "address", "path")
    found = [dict(zip(keys, extent, strict=True)) for extent in extents]
    return {"size": 1234, "extents": found}


def test_a_file_is_drawn_by_member():
    mib = 1 << 20
    drawing = draw_file(
        Path("/mnt/film"),
        body(
            (0, UNIT, "mapped", 0, 3 * mib, "/srv/m0.img"),
            (UNIT, UNIT, "mapped", 2, 5 * mib, "/srv/m2.img"),
            (2 * UNIT, UNIT, "mapped", 0, 3 * mib + UNIT, "/srv/m0.img"),
            (3 * UNIT, UNIT, "unwritten", 2, 9 * mib, "/srv/m2.img"),
            (4 * UNIT, UNIT, "hole", None, None, None),
        ),
        UNIT,
        rows=8,
    )
    assert drawing.title == "film"
    assert drawing.columns == ("0 m0.img", "2 m2.img")
    assert labels(drawing) == [["0", "1"], ["2", "3"]]
    assert [[cell.is_cut for cell in row] for row in drawing.grid] == [[False] * 2, [False, True]]
    assert [[cell.is_resting for cell in row] for row in drawing.grid][1] == [False, True]
    assert drawing.grid[0][1].words == "1: file 64KiB to 128KiB, address 5242880"
    assert drawing.notes == ("pale, or with a dot: allocated and not written",)


def test_only_the_first_rows_of_a_file_are_drawn():
    extents = [(n * UNIT, UNIT, "mapped", n % 2, n // 2 * UNIT, "/m") for n in range(20)]
    drawing = draw_file(Path("f"), body(*extents), UNIT, rows=3)
    assert labels(drawing) == [["0", "1"], ["2", "3"], ["4", "5"]]
    assert drawing.notes == ("14 more cells are below; --rows shows more",)


def test_parts_of_units_are_marked():
    extents = [(0, 8 * KIB, "mapped", 1, 4096, "/m"), (8 * KIB, 4 * KIB, "mapped", 1, 0, "/m")]
    drawing = draw_file(Path("f"), body(*extents), UNIT, rows=8)
    assert labels(drawing) == [["0~"], ["0~"]]
    assert drawing.grid[0][0].words == "0: file 8KiB to 12KiB, address 0"
    assert drawing.notes == ("~ part of a unit",)


def test_an_empty_file_is_no_drawing():
    with pytest.raises(UsageError, match="f: has no bytes on any member"):
        draw_file(Path("f"), body((0, 100, "hole", None, None, None)), UNIT, rows=8)


SMALL = Extent(UNIT, 4, 4, 1)


def differ(first, second, extent=SMALL, **given):
    programs = open_program(first), open_program(second)
    parts = split_params(given, *programs)
    geometries = [p.geometry(extent, part) for p, part in zip(programs, parts, strict=True)]
    maps = [p.walk(geometry) for p, geometry in zip(programs, geometries, strict=True)]
    return compare((first, second), tuple(maps), geometries[0])


def test_a_program_does_not_differ_from_itself():
    found = differ("declustered", "declustered")
    assert (found.moves, found.share, found.nr_other_strip) == ((), 0, 0)
    assert all(cell.is_resting for row in found.drawings[1].grid for cell in row)


def test_what_moves_is_counted():
    found = differ("raid0", "xor_interleave")
    # Rows 1, 2 and 3 are permuted; rows stay rows.
    assert found.nr_cells == 16
    assert [move.number for move in found.moves] == list(range(4, 16))
    assert (found.share, found.nr_other_strip) == (0.75, 12)
    assert found.moves[0].before == (0, UNIT)
    assert found.moves[0].after == (1, UNIT)
    assert [cell.is_resting for cell in found.drawings[0].grid[0]] == [True] * 4
    assert not any(cell.is_resting for row in found.drawings[1].grid[1:] for cell in row)


def test_moving_within_a_strip_is_not_moving_to_another():
    # Reverse of two strips and two rows: 3 2 / 1 0 instead of 0 1 / 2 3.
    found = differ("raid0", "reverse", Extent(UNIT, 1, 4, 1))
    assert (len(found.moves), found.nr_other_strip) == (4, 0)


def test_a_parameter_goes_to_the_program_that_knows_it():
    assert differ("raid0", "interleave", chunk=UNIT).moves == ()
    assert len(differ("raid0", "interleave", chunk=2 * UNIT).moves) == 12
    with pytest.raises(UsageError, match="--param x=1: neither raid0 nor linear takes it"):
        differ("raid0", "linear", x=1)


def test_the_figures_of_a_difference_are_plain_data():
    found = differ("raid0", "linear").body(first=1)
    assert found == {
        "cell": UNIT,
        "cells": 16,
        "moved": 12,
        "percent": 75.0,
        "to_other_strip": 12,
        "first": [
            {
                "cell": 1,
                "offset": UNIT,
                "from": {"strip": 1, "address": 0},
                "to": {"strip": 0, "address": UNIT},
            }
        ],
    }
