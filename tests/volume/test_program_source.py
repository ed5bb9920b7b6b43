# SPDX-License-Identifier: MIT
"""Program sources are read as text, and a layout file must agree with the store."""

import hashlib
from pathlib import Path

import pytest

from iomapd.abi.shipped import shipped_dir
from iomapd.errors import LayoutFileError, ProgramError
from iomapd.volume.authority import Stored, refuse_contradiction
from iomapd.volume.layout_file import parse_layout
from iomapd.volume.program_source import ProgramSource, bind_params, program_path, read_program


def source(text):
    return ProgramSource("p", text, Path("/x/p.py"))


def test_a_name_is_a_shipped_program_and_a_path_is_a_path():
    base, shipped = Path("/base"), Path("/shipped")
    assert program_path("raid0", base, shipped) == Path("/shipped/raid0.py")
    assert program_path("mine.py", base, shipped) == Path("/base/mine.py")
    assert program_path("p/mine", base, shipped) == Path("/base/p/mine")
    assert program_path("/abs/mine.py", base, shipped) == Path("/abs/mine.py")


def test_the_shipped_raid0_is_read_whole(tmp_path):
    program = read_program("raid0", tmp_path, shipped_dir("programs"))
    assert program.name == "raid0"
    assert "def iomap_begin(ctx):" in program.text
    assert program.sha256 == hashlib.sha256(program.path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"x" * 65537, "at most 65536 bytes"), (b"# \xff", "byte 2 is not UTF-8")],
)
def test_text_of_a_bounded_size_is_asked_for(tmp_path, content, said):
    (tmp_path / "p.py").write_bytes(content)
    with pytest.raises(ProgramError, match=said):
        read_program("p.py", tmp_path, tmp_path)


def test_an_absent_program_names_those_that_are_there(tmp_path):
    (tmp_path / "one.py").touch()
    (tmp_path / "two.py").touch()
    with pytest.raises(ProgramError, match=r'program "three": no .*; shipped programs: one, two'):
        read_program("three", tmp_path, tmp_path)


def test_parameters_are_bound_in_the_program_s_order():
    program = source('"""Doc."""\nPARAMS = ("b", "a")\n')
    assert bind_params(program, {"a": 1, "b": -2}, "f") == (-2, 1, 0, 0, 0, 0, 0, 0)
    assert bind_params(source("x = 1\n"), {}, "f") == (0,) * 8


@pytest.mark.parametrize(
    ("text", "given", "said"),
    [
        ("", {"a": 1}, 'f:3: parameter "a" = 1: program p takes no parameters'),
        ('PARAMS = ("b",)', {"a": 1}, 'parameter "a" = 1: program p takes b'),
        ('PARAMS = ("b",)', {}, 'f:3: program p needs parameter "b"'),
        ("PARAMS = 3", {}, "/x/p.py:1: PARAMS is a tuple"),
        ("\nPARAMS = (1,)", {}, "/x/p.py:2: PARAMS is a tuple"),
        ('PARAMS = ("a", "a")', {}, "different names"),
        ("PARAMS = tuple(range(9))", {}, "PARAMS is a tuple"),
        ("def (", {}, "/x/p.py:1: not Python"),
        ("\0", {}, "/x/p.py:1: not Python"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(text, given, said):
    with pytest.raises(ProgramError) as caught:
        bind_params(source(text), given, "f:3")
    assert said in str(caught.value)


TEXT = """\
[volume]
name = "s"
unit = "64KiB"
program = "p"
params = { a = 1 }
[[member]]
path = "m0"
[[member]]
path = "m1"
"""
STORED = Stored("s", 65536, "p", 'PARAMS = ("a",)\n', (1, 0, 0, 0, 0, 0, 0, 0), 2)


def test_a_layout_that_agrees_is_accepted():
    refuse_contradiction(parse_layout(TEXT, Path("/v/s.toml")), STORED)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"s"', '"t"', '/v/s.toml:2: volume.name = "t": the store says "s"; a volume'),
        ("64KiB", "128KiB", "s.toml:3: volume.unit = 128KiB: the store says 64KiB; to change "
         "it for new files: iomapd layout set MOUNTPOINT --unit 128KiB"),
        ('"p"', '"dir/q.py"', 's.toml:4: volume.program = "dir/q.py": the store says "p"; .*'),
        ("a = 1", "a = 2", r"s.toml:5: volume.params = \(2, 0.*: the store says \(1, 0.* --param"),
        ('[[member]]\npath = "m1"\n', "", "s.toml: lists 1 members; the volume has 2"),
    ],
)  # fmt: skip
def test_each_contradiction_names_both_values_and_the_remedy(old, new, said):
    layout = parse_layout(TEXT.replace(old, new), Path("/v/s.toml"))
    with pytest.raises(LayoutFileError, match=said):
        refuse_contradiction(layout, STORED)
