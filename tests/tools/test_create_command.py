# SPDX-License-Identifier: MIT
"""``iomapd create`` from the command line: both forms, their statuses and their one lines."""

from pathlib import Path

import pytest

from iomapd.cli.main import main
from iomapd.volume.layout_file import load_layout


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments):
    return main(["create", *map(str, arguments)])


def one_line(capsys):
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err


def test_members_alone_are_enough(capsys):
    assert run("--unit", "64KiB", "--size", "8MiB", "a.img", "b.img") == 0
    out = capsys.readouterr().out
    assert "unit 64KiB, program raid0" in out
    assert "Next: iomapd mount volume.toml MOUNTPOINT" in out
    layout = load_layout(Path("volume.toml"))
    assert (layout.name, layout.unit) == ("volume", 65536)
    assert [m.path.name for m in layout.members] == ["a.img", "b.img"]
    assert Path("volume.db").exists()


def test_the_name_names_volume_layout_and_store():
    assert run("--unit", "4KiB", "--name", "fast", "--size", "8MiB", "a.img") == 0
    assert load_layout(Path("fast.toml")).name == "fast"
    assert Path("fast.db").exists()


def test_a_dry_run_writes_nothing(capsys):
    assert run("--unit", "4KiB", "--size", "8MiB", "a.img", "--dry-run") == 0
    assert "Nothing was written" in capsys.readouterr().out
    assert list(Path().iterdir()) == []


def test_the_same_command_again_is_refused_for_what_is_there(capsys):
    command = ("--unit", "4KiB", "--size", "8MiB", "a.img")
    assert run(*command) == 0
    capsys.readouterr()
    assert run(*command) == 1
    assert "volume.db: is the store of a volume already" in one_line(capsys)
    assert run(*command, "--force") == 0
    assert "overwritten: member 0 of volume" in capsys.readouterr().out


def test_an_interrupted_command_is_repeated_as_it_was(monkeypatch, capsys):
    command = ("--unit", "4KiB", "--size", "8MiB", "a.img", "b.img")

    def interrupt(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("iomapd.tools.create.write_superblock", interrupt)
        assert run(*command) == 130
    assert Path("volume.db").exists()
    capsys.readouterr()
    assert run(*command) == 0
    assert "interrupted create were found" in capsys.readouterr().out


def test_another_layout_file_is_not_overwritten(capsys):
    Path("volume.toml").write_text("[precious]\n")
    assert run("--unit", "4KiB", "--size", "8MiB", "a.img") == 1
    assert "volume.toml: is there already and says something else" in one_line(capsys)
    assert Path("volume.toml").read_text() == "[precious]\n"
    assert not Path("a.img").exists()


def test_a_refusal_leaves_no_layout_file_behind(capsys):
    assert run("--unit", "4KiB", "absent.img") == 1
    assert "absent.img: no such file" in one_line(capsys)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing argument"),
        (["a.toml", "b.toml"], "2 arguments: one layout file, or --unit SIZE MEMBER..."),
        (["--name", "x", "a.toml"], "--name goes with --unit and members"),
        (["--size", "1GiB", "a.toml"], "--size goes with --unit and members"),
        (["--unit", "64QB", "a.img"], "--unit = 64QB: a size is a whole number"),
        (["--unit", "64KiB", "--size", "big", "a.img"], "--size = big: a size is"),
    ],
)
def test_a_wrong_command_line_is_2(arguments, said, capsys):
    assert run(*arguments) == 2
    assert said in one_line(capsys)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["absent.toml"], "absent.toml: layout file: No such file or directory"),
        (["--unit", "3000", "a.img"], "volume.unit = \"3000\": the stripe unit is a multiple of"),
        (["--unit", "0", "a.img"], "volume.unit = \"0\": the stripe unit"),
        (["--unit", "4KiB", "--name", "a b", "a.img"], "volume.name = \"a b\": a name has"),
        (["--unit", "4KiB", "--size", "1MiB", "a.img"], "a.img: has 1048576 bytes; a member has"),
    ],
)  # fmt: skip
def test_a_refusal_is_1(arguments, said, capsys):
    assert run(*arguments) == 1
    assert said in one_line(capsys)
    assert list(Path().iterdir()) == []
