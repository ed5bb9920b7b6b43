# SPDX-License-Identifier: MIT
"""One line and the right status for every mistake; help at once; JSON where it was asked for."""

import json
import os
import subprocess
import sys
import time

import pytest

from iomapd import __version__
from iomapd.cli import console, main, map, mount_helper
from iomapd.errors import MountError, UsageError


@pytest.fixture
def run(capsys, monkeypatch):
    """Run a command line in this process: (exit status, stdout, stderr)."""
    monkeypatch.delenv("IOMAPD_DEBUG", raising=False)

    def run(*arguments):
        status = main.main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def failing(monkeypatch):
    """Make `iomapd doctor` raise what it is given."""

    def fail_with(error):
        def examine():
            raise error

        monkeypatch.setattr("iomapd.tools.doctor.examine", examine)

    return fail_with


def test_the_version_is_said(run):
    assert run("--version") == (0, f"iomapd {__version__}\n", "")


def test_closed_streams_are_no_internal_error():
    command = f'"{sys.executable}" -m iomapd program list'
    done = subprocess.run(
        ["bash", "-c", f"{command} >&-; echo $?; {command} >&- 2>&-; echo $?"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("0\n0\n", "")


def test_a_file_that_may_not_be_read_is_no_wrong_command_line(run, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *arguments: False)
    for command in ("map", "layout get", "migrate", "fsck"):
        status, _, err = run(*command.split(), "/etc/passwd")
        assert status in (1, 8)
        assert "/etc/passwd" in err


def test_nothing_at_all_gets_help(run):
    status, out, _ = run()
    assert status == 0
    assert out.startswith("Usage: iomapd")
    assert out.index("Volumes:") < out.index("Look inside:") < out.index("Try and measure:")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mount"], "Missing argument 'LAYOUT|MEMBER'; see iomapd mount --help"),
        (["moutn", "a", "b"], "No such command 'moutn'. Did you mean 'mount'"),
        (["mount", "--lane", "1", "a", "b"], "No such option: --lane"),
        (["mount", "--lanes", "-1", "a", "b"], "Invalid value for '--lanes'"),
        (["mount", "a", "b", "-o", "raid5"], "-o raid5: unknown mount option"),
        (["layout"], "Missing command; see iomapd layout --help"),
        (["layout", "set", "/"], "layout set: nothing to change"),
        (["layout", "set", "/", "--param", "x"], "--param x: must be NAME=INTEGER"),
        (["layout", "set", "/", "--unit", "64QB"], "--unit = 64QB: a size is"),
        (["bench", "/", "--size", "lots"], "--size = lots: a size is"),
        (["bench", "/", "--output", "/nowhere/x"], "--output /nowhere/x: No such directory"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_status_2(run, arguments, words):
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith(f"iomapd: {words}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["map", "/etc/passwd"], "/etc/passwd: is not on a mounted iomapd volume"),
        (["map", "/no/such/file"], "/no/such/file: No such file or directory"),
        (["stats", "/proc"], "/proc: is proc, not an iomapd volume"),
        (["umount", "/proc"], "/proc: is proc, not an iomapd volume"),
        (["info", "/no/such/volume"], "/no/such/volume: "),
        (["layout", "get", "/"], "/: is not on a mounted iomapd volume"),
    ],
)
def test_a_refusal_is_one_line_and_status_1(run, arguments, words):
    status, out, err = run(*arguments)
    assert (status, out) == (1, "")
    assert err.startswith(f"iomapd: {words}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UsageError("a = 1: must be 2"), 2, "iomapd: a = 1: must be 2\n"),
        (MountError("two\nlines"), 1, "iomapd: two\\nlines\n"),
        (OSError(5, "Input/output error", "/x"), 1, "iomapd: /x: Input/output error\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_every_kind_of_error_has_its_status(run, failing, error, status, line):
    failing(error)
    assert run("doctor") == (status, "", line)


def test_a_bug_is_one_line_that_says_how_to_report_it(run, failing):
    failing(ZeroDivisionError("division by zero"))
    status, _, err = run("doctor")
    assert status == 1
    assert err.startswith("iomapd: internal error: ZeroDivisionError: division by zero (test_main")
    assert err.endswith("iomapd --debug doctor\n")
    assert "Traceback" not in err


def test_debug_shows_the_traceback(run, failing, monkeypatch):
    monkeypatch.setenv("IOMAPD_DEBUG", "1")
    failing(MountError("no"))
    status, _, err = run("doctor")
    assert status == 1
    assert "Traceback" in err
    assert err.endswith("iomapd: no\n")


def test_doctor_prints_the_schema_it_promises(run):
    status, out, _ = run("doctor", "--json")
    body = json.loads(out)
    assert (body["schema"], body["version"]) == ("iomapd.doctor", 1)
    assert status == (1 if body["status"] == "fail" else 0)


def test_a_map_is_a_table_of_places():
    pieces = [
        {"offset": 0, "length": 65536, "type": "mapped", "member": 1, "path": "/m1", "address": 7},
        {"offset": 65536, "length": 9, "type": "hole"},
    ]
    lines = map._render("f", {"size": 65545, "extents": pieces}).splitlines()
    assert lines[0] == "f: 64KiB in 2 pieces on 1 member"
    assert lines[1].split() == ["OFFSET", "LENGTH", "TYPE", "MEMBER", "ADDRESS", "PATH"]
    assert lines[2].split() == ["0", "65536", "mapped", "1", "7", "/m1"]
    assert lines[3].split() == ["65536", "9", "hole", "-", "-", "-"]


def test_an_empty_file_has_no_table():
    assert map._render("f", {"size": 0, "extents": []}) == "f: 0B in 0 pieces on 0 members"


@pytest.mark.slow
def test_a_reader_that_leaves_early_hears_no_complaint():
    command = f"{sys.executable} -m iomapd doctor --json | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert int(done.stdout) in (0, 1, main.EXIT_PIPE_CLOSED)


@pytest.mark.slow
def test_help_needs_nothing_heavy(capsys):
    """Printed, not judged: how long it takes depends on the machine; what it imports does not."""
    ask = (
        "import sys; from iomapd.cli.main import main; main(['--help']);"
        "print(*sorted({n.partition('.')[0] for n in sys.modules}), file=sys.stderr)"
    )
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    with capsys.disabled():
        print(f" [help: {time.monotonic() - start:.2f} s]", end="")
    heavy = {"numba", "llvmlite", "numpy", "pyfuse3", "trio", "pydantic", "rich", "sqlite3"}
    assert heavy & set(done.stderr.split()) == set()


def test_the_mount_helper_understands_mount_8(capsys):
    arguments = ["vol.toml", "/mnt", "-n", "-v", "-f", "-o", "rw,noatime,x-systemd.automount"]
    assert mount_helper.main(arguments) == 0
    assert "vol.toml on /mnt with {'noatime': None}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["vol.toml"], "usage: mount.fuse.iomapd"),
        (["vol.toml", "/mnt", "-z"], "option -z not recognized"),
        (["vol.toml", "/mnt", "-f", "-o", "raid5"], "-o raid5: unknown mount option"),
        (["vol.toml", "/mnt", "-N", "7"], "-N: mounting in another namespace"),
    ],
)
def test_the_mount_helper_refuses_with_status_1(capsys, arguments, words):
    assert mount_helper.main(arguments) == 1
    assert capsys.readouterr().err.startswith(f"mount.fuse.iomapd: {words}")


def test_sloppy_is_for_options_of_others(capsys):
    assert mount_helper.main(["vol.toml", "/mnt", "-s", "-f", "-o", "raid5"]) == 0


def test_a_failed_mount_is_status_32(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("IOMAPD_RUNTIME_DIR", str(tmp_path / "run"))
    status = mount_helper.main([str(tmp_path / "no.toml"), str(tmp_path)])
    assert status == mount_helper.EXIT_FAILED
    assert capsys.readouterr().err.count("\n") == 1


def test_progress_on_a_terminal_goes_to_stderr(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setitem(os.environ, "TERM", "dumb")
    with console.progress_bar() as report:
        report("filling", 1, 2)
    assert capsys.readouterr().out == ""
