# SPDX-License-Identifier: MIT
"""``program draw`` and ``program diff``: what they print, write and refuse."""

import json
import sys
from xml.etree import ElementTree

import pytest

from iomapd.cli import cells, main
from iomapd.tools.draw import Cell, Drawing


@pytest.fixture
def run(capsys, monkeypatch):
    """Run ``iomapd program ...`` in this process: (exit status, stdout, stderr)."""
    monkeypatch.delenv("IOMAPD_DEBUG", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)

    def run(*arguments):
        status = main.main(["program", *map(str, arguments)])
        return status, *capsys.readouterr()

    return run


def test_a_program_is_drawn_in_numbers(run):
    assert run("draw", "xor_interleave", "--rows", 3) == (
        0,
        """\
xor_interleave: unit 64KiB, 4 strips of 192KiB, seed 1

         0   1   2   3
     0   0   1   2   3
 64KiB   5   4   7   6
128KiB  10  11   8   9
""",
        "",
    )


def test_two_programs_are_compared(run):
    assert run("diff", "raid0", "reverse", "--rows", 1, "--strips", 3) == (
        0,
        """\
raid0 and reverse: unit 64KiB, 3 strips of 64KiB, seed 1
2 of 3 units move (67%), 2 to another strip

UNIT  STRIP  ADDRESS      STRIP  ADDRESS
   0      0        0  ->      2        0
   2      2        0  ->      0        0

raid0           reverse
   0  1  2         0  1  2
0  0  1. 2      0  2  1. 0

. stays where it is
""",
        "",
    )


def test_parameters_and_geometry_are_taken(run):
    status, out, _ = run(
        "draw", "interleave", "--param", "chunk=0x20000", "--unit", "128KiB", "--strips", 2,
        "--rows", 1, "--seed", 5,
    )  # fmt: skip
    assert status == 0
    assert out.startswith("interleave: unit 128KiB, 2 strips of 128KiB, seed 5, chunk 131072\n")


def test_the_map_is_printed_as_json(run):
    status, out, _ = run("draw", "linear", "--rows", 2, "--strips", 2, "--json")
    body = json.loads(out)
    assert status == 0
    assert (body["schema"], body["version"]) == ("iomapd.program.draw", 1)
    assert (body["unit"], body["nr_strips"], body["strip_length"]) == (65536, 2, 131072)
    assert body["program"]["name"] == "linear"
    assert len(body["program"]["sha256"]) == 64
    assert body["pieces"] == [
        {"offset": 0, "length": 131072, "strip": 0, "address": 0},
        {"offset": 131072, "length": 131072, "strip": 1, "address": 0},
    ]


def test_the_difference_is_printed_as_json(run):
    status, out, _ = run("diff", "raid0", "raid0", "--json")
    body = json.loads(out)
    assert status == 0
    assert (body["schema"], body["version"]) == ("iomapd.program.diff", 1)
    assert (body["cells"], body["moved"], body["first"]) == (32, 0, [])


def test_nothing_moves(run):
    status, out, _ = run("diff", "declustered", "declustered")
    assert status == 0
    assert "0 of 32 units move (0%), 0 to another strip\n\ndeclustered " in out


def test_pictures_are_written(run, tmp_path):
    svg, png = tmp_path / "p.svg", tmp_path / "p.png"
    assert run("draw", "rotated", "--svg", svg, "--png", png)[0] == 0
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert run("diff", "raid0", "rotated", "--svg", svg)[0] == 0
    assert "grey: stays where it is" in svg.read_text()


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["draw", "nosuch"], 2, "nosuch: is neither a file nor one of the programs ceph,"),
        (["draw", "nosuch.py"], 1, 'program "nosuch.py": no nosuch.py; shipped programs: '),
        (["draw", "/etc/passwd"], 1, "/etc/passwd: is not on a mounted iomapd volume"),
        (["draw", "/etc/passwd", "--strips", "3"], 2, "/etc/passwd: is no program; a file has"),
        (["draw", "raid0", "--unit", "64KB"], 2, "--unit = 64KB: a size is"),
        (["draw", "raid0", "--unit", "5000"], 2, "unit 5000: must be a positive multiple"),
        (["draw", "raid0", "--rows", "0"], 2, "Invalid value for '--rows'"),
        (["draw", "raid0", "--rows", "5000"], 2, "5000 rows of 4 units: at most 16384 units"),
        (["draw", "raid0", "--param", "chunk"], 2, "--param chunk: must be NAME=INTEGER"),
        (["draw", "raid0", "--param", "=7"], 2, "--param =7: must be NAME=INTEGER"),
        (["draw", "raid0", "--param", "chunk=1.5"], 2, "--param chunk=1.5: must be NAME=INTEGER"),
        (["draw", "raid0", "--param", f"chunk={1 << 63}"], 2, f"--param chunk={1 << 63}: must"),
        (["draw", "interleave"], 1, '--param: program interleave needs parameter "chunk"'),
        (["diff", "raid0"], 2, "Missing argument 'B'"),
        (["diff", "raid0", "linear", "--param", "x=1"], 2, "--param x=1: neither raid0 nor"),
    ],
)
def test_mistakes_are_one_line(run, arguments, status, words):
    found, out, err = run(*arguments)
    assert (found, out) == (status, "")
    assert err.startswith(f"iomapd: {words}")
    assert err.count("\n") == 1


def test_a_program_of_ones_own_may_be_wrong(run, tmp_path):
    program = tmp_path / "mine.py"
    program.write_text(
        "def iomap_begin(ctx):\n    ctx.strip = 7\n    ctx.addr = 0\n"
        "    ctx.length = ctx.unit\n    return 1\n"
    )
    status, out, err = run("draw", program)
    assert (status, out) == (1, "")
    assert err == "iomapd: mine: pos 0: strip 7 is not in 0..3\n"


def test_matplotlib_is_asked_for_by_name(run, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    status, _, err = run("draw", "raid0", "--png", tmp_path / "p.png")
    assert status == 2
    assert err == "iomapd: --png: matplotlib is not installed: pip install 'iomapd[charts]'\n"


DRAWN = Drawing("p", "c", ("strip 0",), ("0",), ((Cell((7,), 0, 1.0, ""),),))


def test_a_terminal_gets_colours(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.delenv("NO_COLOR", raising=False)
    cells.show([DRAWN])
    # White on blue.
    assert "\x1b[38;2;255;255;255;48;2;0;114;178m 7 \x1b[0m" in capsys.readouterr().out


def test_no_color_is_respected(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    cells.show([DRAWN])
    assert capsys.readouterr().out == "   0\n0  7\n"
