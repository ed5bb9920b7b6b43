# SPDX-License-Identifier: MIT
"""``iomapd program``: what it prints, as text and JSON, and its exit status."""

import json

import pytest

from iomapd.cli import main
from iomapd.cli.parameters import STRIPS_MAX
from iomapd.jit.admission import Admission, Stage
from iomapd.jit.admission.admit import Examination
from iomapd.tools import program, program_bpf, program_sizes
from iomapd.volume.superblock import NR_MEMBERS_MAX

WRONG = "def iomap_begin(ctx):\n    return 1 / 2\n"


@pytest.fixture
def run(capsys, monkeypatch):
    """Run a command line in this process: (exit status, stdout, stderr)."""
    monkeypatch.delenv("IOMAPD_DEBUG", raising=False)

    def run(*arguments):
        status = main.main(["program", *map(str, arguments)])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def verdict(monkeypatch):
    """Answer every check with a verdict; returns what was asked."""
    asked = []

    def answer(accepted):
        bounded = Stage("bounded", "pass" if accepted else "fail", "made.py:3: too long")
        stages = (Stage("parse", "pass", "7 statements in 1 function"), bounded)

        def check(name, params, progress):
            asked.append((name, params))
            return Admission(name, "ab" * 32, accepted, stages, step_bound=17)

        monkeypatch.setattr(program, "check_program", check)
        return asked

    return answer


def test_an_accepted_program_is_exit_status_0(run, verdict):
    asked = verdict(True)
    status, out, err = run("check", "raid0", "--param", "a=0x10", "--param", "b=-1")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "raid0  sha256 abababababababab",
        "  parse     pass  7 statements in 1 function",
        "  bounded   pass  made.py:3: too long",
        "accepted",
    ]
    assert asked == [("raid0", {"a": 16, "b": -1})]


def test_a_refused_program_is_exit_status_1(run, verdict):
    verdict(False)
    status, out, err = run("check", "raid0")
    assert (status, err) == (1, "")
    assert out.endswith("  bounded   fail  made.py:3: too long\nrefused\n")


def test_check_prints_the_documented_json(run, verdict):
    verdict(False)
    status, out, _ = run("check", "raid0", "--json")
    assert status == 1
    body = json.loads(out)
    assert body["schema"] == "iomapd.program.check"
    assert body["version"] == 1
    assert body["program"] == "raid0"
    assert body["accepted"] is False
    assert body["stages"][1] == {
        "name": "bounded", "status": "fail", "detail": "made.py:3: too long",
    }  # fmt: skip


@pytest.mark.slow
def test_check_and_the_real_thing(run, tmp_path):
    path = tmp_path / "wrong.py"
    path.write_text(WRONG)
    status, out, _ = run("check", path)
    assert status == 1
    assert f"parse     fail  {path}:2: / gives fractions" in out


@pytest.mark.parametrize("text", ["a", "a=", "=1", "a=x", "a=9223372036854775808"])
def test_a_parameter_is_a_name_and_an_integer(run, text):
    status, out, err = run("check", "raid0", "--param", text)
    assert (status, out) == (2, "")
    assert err.startswith(f"iomapd: --param {text}: must be NAME=INTEGER")


def test_list_is_a_table_and_json(run):
    status, out, _ = run("list")
    assert status == 0
    assert out.splitlines()[0].split() == ["PROGRAM", "PARAMS", "SUMMARY"]
    assert any(line.startswith("raid0 ") for line in out.splitlines())
    body = json.loads(run("list", "--json")[1])
    assert body["schema"] == "iomapd.program.list"
    assert {"name", "path", "summary", "params", "refusal"} == set(body["programs"][0])


def test_show_prints_the_source(run):
    status, out, _ = run("show", "raid0")
    assert status == 0
    assert out == program.open_source("raid0").text


def test_show_prints_what_the_compiler_made(run, monkeypatch):
    found = Examination(Admission("x", "", True, ()), b"", "the ir\n", "the assembly\n", b"elf")
    monkeypatch.setattr(program, "translate_program", lambda name, progress: found)
    monkeypatch.setattr(program_bpf, "listing_of", lambda found: f"{found.bpf.decode()} listed\n")
    assert run("show", "raid0", "--ir")[1] == "the ir\n"
    assert run("show", "raid0", "--asm")[1] == "the assembly\n"
    assert run("show", "raid0", "--ir", "--asm")[1] == "the ir\nthe assembly\n"
    assert run("show", "raid0", "--bpf")[1] == "elf listed\n"


def test_show_writes_the_object_for_bpftool(run, monkeypatch, tmp_path):
    found = Examination(Admission("x", "", True, ()), bpf=b"elf")
    monkeypatch.setattr(program, "translate_program", lambda name, progress: found)
    path = tmp_path / "raid0.o"
    assert run("show", "raid0", "--emit", path) == (0, "", f"{path}: 3 bytes\n")
    assert path.read_bytes() == b"elf"
    status, _, err = run("show", "raid0", "--emit", tmp_path)
    assert (status, err) == (2, f"iomapd: --emit {tmp_path}: Is a directory\n")


def test_check_times_the_proofs_of_large_files(run, verdict, monkeypatch):
    verdict(True)
    costs = [
        program_sizes.SizeCost(1 << 30, 262144, 7_000_000, 32768, True),
        program_sizes.SizeCost(1 << 40, 1 << 28, 9_870_000_000, 1 << 25, False),
    ]
    monkeypatch.setattr(program_sizes, "time_proofs", lambda *_: costs)
    lines = run("check", "raid0", "--sizes")[1].splitlines()
    assert lines[-2].split() == ["1GiB", "262144", "0.01", "32KiB", "measured"]
    assert lines[-1].split() == ["1TiB", "268435456", "9.87", "32MiB", "extrapolated"]
    body = json.loads(run("check", "raid0", "--sizes", "--json")[1])
    assert body["sizes"][1]["measured"] is False
    assert "sizes" not in json.loads(run("check", "raid0", "--json")[1])


def test_run_asks_for_one_mapping(run):
    status, out, _ = run("run", "raid0", "--pos", "324KiB", "--strips", "4")
    assert status == 0
    assert out.splitlines()[1] == "strip 1, address 69632, length 61440"
    body = json.loads(run("run", "raid0", "--pos", "324KiB", "--json")[1])
    assert body["schema"] == "iomapd.program.run"
    assert body["answers"] == {"strip": 1, "addr": 69632, "length": 61440}


def test_run_shows_hints_beside_an_answer(run):
    status, out, _ = run("run", "readahead", "--pos", "68KiB")
    assert status == 0
    assert out.splitlines()[1:] == [
        "strip 1, address 4096, length 61440",
        "hint: 65536 bytes at 131072 are in strip 2 at address 0",
    ]
    status, out, _ = run("run", "readahead", "--pos", "4032KiB", "--json")
    assert json.loads(out)["hints"] == dict.fromkeys(
        ("upsert_pos", "upsert_length", "upsert_strip", "upsert_addr"), 0
    )


def test_run_says_which_rule_is_broken(run, tmp_path):
    path = tmp_path / "wrong.py"
    path.write_text("def iomap_begin(ctx):\n    return 0\n")
    status, out, _ = run("run", path)
    assert status == 1
    assert out.splitlines()[1] == "the block is answered with FALLBACK, not HANDLED"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seed", 1 << 63], "--seed 9223372036854775808: must be a signed 64-bit integer"),
        (["--unit", "5"], "unit 5, 4 strips of 1048576 bytes: unit and strip length are positive"),
        (["--pos", "5"], "--pos 5: must be a multiple of 4096 below 4194304"),
        (["--strips", "0"], "Invalid value for '--strips'"),
        (["--strips", "65"], "Invalid value for '--strips'"),
    ],
)
def test_values_that_make_no_extent_are_usage_errors(run, arguments, words):
    status, _, err = run("run", "raid0", *arguments)
    assert status == 2
    assert words in err


def test_bench_prints_four_ways(run, monkeypatch):
    cost = program.Cost(1.25, 1.0, 2.0)
    report = program.CostReport("raid0", "unit=4096", cost, cost, cost, cost)
    monkeypatch.setattr(program, "time_program", lambda *args: report)
    status, out, _ = run("bench", "raid0")
    assert status == 0
    assert out.splitlines()[0] == "raid0: unit=4096"
    assert out.count("1.2") == 4
    body = json.loads(run("bench", "raid0", "--json")[1])
    assert body["compiled"] == {"median": 1.25, "low": 1.0, "high": 2.0}
    assert body["in_kernel"] == body["compiled"]
    assert body["machine"]["kernel"]


def test_bench_says_why_the_kernel_was_not_timed(run, monkeypatch):
    cost = program.Cost(1.25, 1.0, 2.0)
    report = program.CostReport("raid0", "unit=4096", cost, cost, cost, why_not="not permitted")
    monkeypatch.setattr(program, "time_program", lambda *args: report)
    assert run("bench", "raid0")[1].splitlines()[-1].startswith("program, BPF: not permitted")


def test_a_program_can_be_tried_with_as_many_strips_as_a_volume_may_have():
    assert STRIPS_MAX == NR_MEMBERS_MAX
