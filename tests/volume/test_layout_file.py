# SPDX-License-Identifier: MIT
"""Layout files: what is accepted, and the one line for everything that is not."""

import os
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iomapd.errors import LayoutFileError
from iomapd.volume.layout_file import (
    MemberSpec,
    find_layout_or_member,
    load_layout,
    parse_layout,
    render_layout,
)

WHERE = Path("/v/scratch.toml")

GOOD = """\
[volume]
name = "scratch"
unit = "64KiB"
program = "raid0"
metadata = "meta/scratch.db"

[volume.params]
object_size = 4_194_304

[io]
mode = "direct"

[[member]]
path = "/dev/loop0"

[[member]]
path = "m1.img"
size = "4GiB"
sparse = true
"""

SHORT = '[volume]\nname = "s"\nunit = 4096\n[[member]]\npath = "m"\n'


def refused(text, where=WHERE):
    with pytest.raises(LayoutFileError) as caught:
        parse_layout(text, where)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_every_key_is_read():
    layout = parse_layout(GOOD, WHERE)
    assert (layout.name, layout.unit, layout.program) == ("scratch", 65536, "raid0")
    assert layout.params == {"object_size": 4 << 20}
    assert layout.metadata == Path("/v/meta/scratch.db")
    assert layout.io_mode == "direct"
    assert layout.members == (
        MemberSpec(Path("/dev/loop0")), MemberSpec(Path("/v/m1.img"), 4 << 30, True)
    )  # fmt: skip


def test_what_may_be_left_out_has_a_default():
    layout = parse_layout(SHORT, WHERE)
    assert (layout.program, layout.params, layout.io_mode) == ("raid0", {}, "auto")
    assert layout.metadata == Path("/v/scratch.db")
    assert layout.members == (MemberSpec(Path("/v/m")),)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("a.db", "/v/a.db"), ("/x/a.db", "/x/a.db"), ("sqlite:///a.db", "/v/a.db"),
     ("sqlite:////x/a.db", "/x/a.db")],
)  # fmt: skip
def test_the_store_may_be_a_path_or_an_url(written, meant):
    text = SHORT.replace("unit", f'metadata = "{written}"\nunit')
    assert parse_layout(text, WHERE).metadata == Path(meant)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "s"', "", "/v/scratch.toml:1: volume.name is missing"),
        ('name = "s"', 'name = "a,b"', ':2: volume.name = "a,b": a name has 1 to 64'),
        ('name = "s"', 'name = ""', ':2: volume.name = "": a name has'),
        ('name = "s"', 'name = ".hid"', "a name has"),
        ('name = "s"', 'name = "\\u00fc"', "a name has"),
        ('name = "s"', "name = 3", ":2: volume.name = 3: must be a string"),
        ("unit = 4096", "", ":1: volume.unit is missing"),
        ("unit = 4096", "unit = 0", ":3: volume.unit = 0: the stripe unit is a multiple of 4KiB"),
        ("unit = 4096", "unit = 3000", "volume.unit = 3000: the stripe unit is a multiple"),
        ("unit = 4096", 'unit = "64QB"', ':3: volume.unit = "64QB": a size is a whole number'),
        ("unit = 4096", 'unit = "2GiB"', 'volume.unit = "2GiB": the stripe unit is a multiple'),
        ("unit = 4096", "unit = true", "volume.unit = true: a size is"),
        ("unit = 4096", "unit = 1.5", "volume.unit = 1.5: a size is"),
        ("unit = 4096", "unit = [1]", "volume.unit = [...]: a size is"),
        ("unit = 4096", "unit = 4096\nstripe = 1", ":4: volume.stripe = 1: unknown key; known "
         "here: name, unit, program, metadata, params"),
        ("unit = 4096", "unti = 4096", ":3: volume.unti = 4096: unknown key; known here"),
        ("unit = 4096", "unit = 4096\nunit = 1", ":4: not TOML: Cannot overwrite a value"),
        ("unit = 4096", "unit = ", ":3: not TOML: Invalid value"),
        ("unit = 4096", 'unit = 4096\nmetadata = "postgresql://h/d"', "the metadata store is"),
        ("unit = 4096", 'unit = 4096\nmetadata = ""', "the metadata store is"),
        ("unit = 4096", "unit = 4096\nparams.n = 1.5", ":4: volume.params.n = 1.5: a parameter is"),
        ("unit = 4096", "unit = 4096\nparams.n = true", "volume.params.n = true: a parameter is"),
        ("unit = 4096", f"unit = 4096\nparams.n = {2**63}", "a parameter is an integer from"),
        ("unit = 4096", 'unit = 4096\nparams."a b" = 1', "a parameter's name is that of a Python"),
        ("unit = 4096", "unit = 4096\nparams = 1", "volume.params = 1: must be a table"),
        ("unit = 4096", "unit = 4096\nparams = {" + ",".join(f"p{i}=1" for i in range(9)) + "}",
         "a program takes at most 8 parameters"),
        ("[[member]]", '[io]\nmode = "fast"\n[[member]]', ':5: io.mode = "fast": must be one'),
        ("[[member]]", "[io]\ndepth = 1\n[[member]]", ":5: io.depth = 1: unknown key; known"),
        ("[[member]]", "[oi]\n[[member]]", ":4: oi = {...}: unknown key; known here: volume, io"),
        ("[[member]]", "[member]", ":4: member = {...}: must be a list of tables, [[member]]"),
        ('[[member]]\npath = "m"\n', "", ": member is missing"),
        ('path = "m"', "", ":4: member.0.path is missing"),
        ('path = "m"', 'path = ""', ':5: member.0.path = "": a path is'),
        ('path = "m"', 'path = "a\\u0000b"', "a path is a string"),
        ('path = "m"', 'path = "m"\n[[member]]\npath = 7', ":7: member.1.path = 7: must be"),
        ('path = "m"', 'path = "m"\nsize = "-1"', ':6: member.0.size = "-1": a size is'),
        ('path = "m"', 'path = "m"\nsize = 0', "member.0.size = 0: an image file has at least"),
        ('path = "m"', 'path = "m"\nsparse = 1\nsize = 1', "member.0.sparse = 1: must be true"),
        ('path = "m"', 'path = "m"\nsparse = true', "give its size"),
        ('path = "m"', 'path = "m"\nuuid = "x"', ':6: member.0.uuid = "x": unknown key; known '
         "here: path, size, sparse"),
        ('path = "m"', 'path = "m"\n[[member]]\npath = "../v/m"', ':7: member.1.path = "../v/m": '
         "is member.0 already"),
        ('path = "m"', 'path = "scratch.db"', "is the metadata store already"),
        ('path = "m"', 'path = "scratch.toml"', "is the layout file itself already"),
    ],
)  # fmt: skip
def test_each_slip_has_a_line_with_key_value_and_rule(old, new, said):
    assert old in SHORT
    message = refused(SHORT.replace(old, new))
    assert message.startswith(str(WHERE))
    assert said in message


def test_no_members_are_refused():
    assert "a volume has 1 to 64 members" in refused('member = []\n[volume]\nname="s"\nunit=4096\n')
    many = "".join(f'[[member]]\npath = "m{i}"\n' for i in range(65))
    assert "a volume has 1 to 64 members" in refused(f'[volume]\nname="s"\nunit=4096\n{many}')


def test_the_first_fault_in_the_file_is_told():
    assert refused(GOOD.replace('"64KiB"', "1").replace('"direct"', "1")).startswith(f"{WHERE}:3: ")


def test_long_values_are_cut():
    assert len(refused(SHORT.replace('"s"', f'"{"x" * 5000}"'))) < 300


def test_a_second_path_to_a_file_is_seen_through_links(tmp_path):
    (tmp_path / "m").touch()
    (tmp_path / "link").symlink_to("m")
    text = SHORT + '[[member]]\npath = "link"\n'
    assert "is member.0 already" in refused(text, tmp_path / "s.toml")


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"\xff\xfe", "byte 0 is not UTF-8"), (b"#" * ((1 << 20) + 1), "larger than 1048576 bytes"),
     (b"[volume", ": not TOML: Expected ']'"), (b"", "volume is missing")],
)  # fmt: skip
def test_files_that_are_no_layouts(tmp_path, content, said):
    path = tmp_path / "s.toml"
    path.write_bytes(content)
    with pytest.raises(LayoutFileError) as caught:
        load_layout(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


def test_a_mountpoint_where_nothing_is_mounted_is_not_called_a_layout_file(tmp_path):
    with pytest.raises(LayoutFileError, match="is a directory, and no volume is mounted there"):
        find_layout_or_member(tmp_path)


def test_absent_files_and_directories_are_named(tmp_path):
    with pytest.raises(LayoutFileError, match=r"no\.toml: layout file: No such file"):
        load_layout(tmp_path / "no.toml")
    with pytest.raises(LayoutFileError, match="Is a directory"):
        load_layout(tmp_path)


def test_a_fifo_that_nobody_writes_to_keeps_nobody_waiting(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(LayoutFileError, match="volume is missing"):
        load_layout(tmp_path / "fifo")


def test_places_are_file_and_line(tmp_path):
    layout = parse_layout(GOOD, WHERE)
    assert layout.place("volume", "unit") == f"{WHERE}:3"
    assert layout.place("volume", "params", "object_size") == f"{WHERE}:8"
    assert layout.place("member", 1, "size") == f"{WHERE}:18"
    assert layout.place("member", 0, "size") == f"{WHERE}:13"
    assert layout.place("nothing") == str(WHERE)


# -- writing


paths = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1)


@given(
    st.text(string.ascii_letters, min_size=1, max_size=64),
    st.integers(1, 1 << 18).map(lambda blocks: blocks * 4096),
    st.lists(st.tuples(paths, st.none() | st.integers(1, 2**63 - 1), st.booleans()),
             min_size=1, max_size=4, unique_by=lambda m: os.path.normpath(m[0])),
    st.dictionaries(st.text(string.ascii_letters, min_size=1), st.integers(-(2**63), 2**63 - 1),
                    max_size=8),
)  # fmt: skip
def test_what_is_written_reads_back(name, unit, members, params):
    base = Path("/nowhere at all/v")
    specs = [
        MemberSpec(base / f"x{path}", size, sparse and size is not None)
        for path, size, sparse in members
    ]
    text = render_layout(name=name, unit=str(unit), members=specs, params=params)
    layout = parse_layout(text, base / "s.toml")
    assert (layout.name, layout.unit, layout.params) == (name, unit, params)
    assert layout.members == tuple(specs)


def test_a_path_that_is_not_utf8_cannot_be_written():
    with pytest.raises(LayoutFileError, match="not UTF-8"):
        render_layout(name="s", unit="4096", members=[MemberSpec(Path(os.fsdecode(b"\xff")))])


# -- finding


def write_layout(directory, paths, name="v.toml"):
    text = render_layout(name="v", unit="64KiB", members=[MemberSpec(p) for p in paths])
    (directory / name).write_text(text)
    return directory / name


def test_a_layout_is_found_by_itself_and_by_each_member(volume, tmp_path):
    (tmp_path / "other.toml").write_text("[project]\n")
    path = write_layout(tmp_path, volume.paths)
    link = tmp_path / "link-to-m0"
    link.symlink_to(volume.paths[0])
    for source in (path, *volume.paths, link):
        assert find_layout_or_member(source).path == path


def test_a_layout_in_the_current_directory_is_found(volume, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    path = write_layout(tmp_path / "elsewhere", volume.paths)
    monkeypatch.chdir(path.parent)
    assert find_layout_or_member(volume.paths[1]).path == path


def test_a_member_that_no_layout_lists_is_refused(volume, tmp_path):
    write_layout(tmp_path, volume.paths[:2])
    with pytest.raises(LayoutFileError, match=rf"a member of volume {volume.uuid}, but no \*.toml"):
        find_layout_or_member(volume.paths[2])


def test_something_else_is_neither(tmp_path):
    path = tmp_path / "thing"
    path.write_bytes(bytes(4096) + b"\xff")
    with pytest.raises(LayoutFileError, match=r"byte 4096 is not UTF-8.*nor is it a member"):
        find_layout_or_member(path)


def test_a_layout_may_have_any_name(volume, tmp_path):
    path = write_layout(tmp_path, volume.paths, "layout")
    assert find_layout_or_member(path).name == "v"
