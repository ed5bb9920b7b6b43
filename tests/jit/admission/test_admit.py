# SPDX-License-Identifier: MIT
"""The limited child: what it says is believed, what it fails to say is a refusal in words."""

import json
import os
import subprocess
import sys

import pytest

from iomapd.abi.shipped import shipped_dir
from iomapd.jit.admission import Geometry, Prover, admit, examine, load_program
from iomapd.jit.admission import admit as admit_function
from iomapd.jit.admission.limits import words_of_death
from iomapd.jit.bpf.kernel import why_not
from tests.jit.admission.sources import BOMB, EVERYTHING, RAID0
from tests.mounted.harness import SOAK

# The module, which the function of the same name hides.
module = sys.modules[admit_function.__module__]

FILE = "programs/made.py"


def stages(admission):
    return [(stage.name, stage.status) for stage in admission.stages]


ALL_PASS = [
    ("parse", "pass"), ("bounded", "pass"), ("compile", "pass"),
    ("verifier", "skip" if why_not() else "pass"), ("agree", "pass"), ("prove", "pass"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def prover():
    return Prover()


@pytest.mark.slow
def test_raid0_passes_every_stage():
    begun = []
    admission = admit("raid0", RAID0, FILE, progress=begun.append)
    assert admission.accepted
    assert stages(admission) == ALL_PASS
    assert begun == [name for name, _ in ALL_PASS]
    assert admission.step_bound == 17
    assert (admission.prefix, admission.is_raid0, admission.uses_seed) == (True, True, False)
    assert admission.to_json()["schema"] == "iomapd.program.check"


@pytest.mark.slow
def test_a_wrong_map_is_refused_where_it_is_proved():
    admission = admit("wrong", RAID0.replace("ctx.addr = row", "ctx.addr = 0 * row"), FILE)
    assert not admission.accepted
    assert stages(admission) == [*ALL_PASS[:-1], ("prove", "fail")]
    assert admission.refusal.startswith(f"{FILE}:6: the block at pos ")
    assert admission.prefix is None


def test_a_refusal_before_the_compiler_is_quick_and_says_no_more():
    admission = admit("wrong", RAID0.replace("//", "/"), FILE)
    assert stages(admission) == [("parse", "fail")]
    assert admission.refusal == f"{FILE}:7: / gives fractions; // divides integers"


@pytest.mark.slow
def test_a_bomb_within_the_ladder_is_refused():
    admission = admit("bomb", BOMB.replace("{pos}", str(0x12345000)), FILE)
    assert stages(admission)[-1] == ("prove", "fail")
    assert "goes to address 0 of strip" in admission.refusal


@pytest.mark.slow
def test_a_bomb_beyond_the_ladder_is_refused_by_the_proof_of_the_extent(tmp_path, prover):
    place = 5 << 30
    loaded = load_program("bomb", BOMB.replace("{pos}", str(place)), FILE, directory=tmp_path / "o")
    assert loaded.admission.accepted
    assert prover.prove(loaded.address, Geometry(65536, 4, 1 << 30)).ok
    proof = prover.prove(loaded.address, Geometry(65536, 4, 3 << 29))
    assert not proof.ok
    assert proof.sentence.startswith(f"the block at pos {place} goes to address 0 of strip")


PARAMETRISED = 'PARAMS = ("shift",)\n' + RAID0.replace(
    "ctx.strip = unit_index - row * ctx.nr_strips",
    "ctx.strip = (unit_index - row * ctx.nr_strips + {}) % ctx.nr_strips",
).removeprefix('"""RAID0, as shipped."""')


@pytest.mark.slow
def test_parameters_are_tried_until_some_are_proved():
    odd = PARAMETRISED.replace("{}", "(0 if ctx.shift == 4096 else 1 << 62) // 3 * unit_index")
    admission = admit("made", odd, FILE)
    assert admission.accepted
    assert "with shift=4096" in admission.stages[-1].detail
    assert "maybe another with other parameters" in admission.stages[-1].detail
    # Found for a guess, so nothing is known of any other value.
    assert admission.prefix is None
    assert not admission.is_raid0


@pytest.mark.slow
def test_given_parameters_are_the_ones_that_are_proved():
    admission = admit("made", PARAMETRISED.replace("{}", "ctx.shift"), FILE, params=[4])
    assert "with shift=4" in admission.stages[-1].detail
    assert "other parameters" not in admission.stages[-1].detail
    assert admission.prefix is True


@pytest.mark.slow
def test_listings_are_there_when_asked_for():
    found = examine("made", EVERYTHING, FILE, params=[1, 2], listings=True)
    assert "define" in found.ir
    assert found.bpf.startswith(b"\x7fELF")
    assert "iomap_ioend:" in found.assembly
    assert not found.admission.accepted  # the map of EVERYTHING makes no sense
    assert found.code == b""


# -- a child that does not do its part


@pytest.fixture
def child_that(tmp_path, monkeypatch):
    """Replace the child by a shell script."""

    def become(script):
        path = tmp_path / "child"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(module.sys, "executable", str(path))

    return become


PASSED = '{"begin": "compile"}\n'
END = '{"end": {}}\n'


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("kill -XCPU $$", "took too much processor time; at most 30 s are allowed"),
        ("kill -KILL $$", "was killed; the machine may be out of memory"),
        ("kill -ABRT $$", "made the compiler give up; it may need more than 1024 MiB"),
        ("kill -SEGV $$", "ended the examining process with SIGSEGV"),
        ("exit 1", "made the examining process exit with 1"),
        ("exit 0", "was not examined to the end"),
        ("echo hello", "made the examining process talk nonsense"),
        ("echo '[1]'", "made the examining process talk nonsense"),
        ("echo '{}'", "made the examining process talk nonsense"),
        ("""echo '{"stage": {"name": 1}}'""", "made the examining process talk nonsense"),
        (f"printf '{END}'", "was not examined to the end"),
        pytest.param(
            'yes \'{"begin": "compile"}\'',
            "made the examining process talk nonsense",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_death_is_a_refusal_by_the_running_stage(child_that, script, words):
    child_that(f"cat >/dev/null; printf '{PASSED}'; {script}")
    admission = admit("made", RAID0, FILE)
    assert not admission.accepted
    assert stages(admission) == [("compile", "fail")]
    assert admission.refusal == f"{FILE}:1: the program {words}"


def test_llvm_that_runs_out_of_bpf_stack_exits_and_that_has_words(child_that):
    child_that('cat >/dev/null; printf \'{"begin": "verifier"}\\n\'; exit 1')
    admission = admit("made", RAID0, FILE)
    assert stages(admission) == [("verifier", "fail")]
    assert admission.refusal == (
        f"{FILE}:1: the program needs more than the 512 bytes of stack that a BPF program has"
    )


def stack_eater():
    """Eighty variables, all alive in every round."""
    names = [f"v{number}" for number in range(80)]
    lines = ["def iomap_begin(ctx):"]
    lines += [
        f"    {n} = (ctx.pos ^ {k * 7919 + 1}) * (ctx.seed + {k})" for k, n in enumerate(names)
    ]
    lines.append("    for i in range(9):")
    lines += [
        f"        {n} = {n} ^ ({names[(k * 37 + 11) % 80]} >> 3)" for k, n in enumerate(names)
    ]
    lines.append("    t = 0")
    lines += [f"    t += {' ^ '.join(names[start : start + 20])}" for start in range(0, 80, 20)]
    lines += ["    ctx.strip = t", "    ctx.addr = 0", "    ctx.length = 1", "    return 1\n"]
    return "\n".join(lines)


@pytest.mark.skipif(not SOAK, reason="takes the compiler five seconds: IOMAPD_SOAK=1")
def test_a_program_with_too_many_variables_for_bpf_is_refused():
    admission = admit("made", stack_eater(), FILE)
    assert stages(admission)[-1] == ("verifier", "fail")
    assert "512 bytes of stack" in admission.refusal


@pytest.mark.skipif(not SOAK, reason="takes a minute: IOMAPD_SOAK=1")
@pytest.mark.parametrize("path", sorted(shipped_dir("programs").glob("*.py")), ids=lambda p: p.stem)
def test_every_shipped_program_passes_every_stage(path):
    admission = admit(path.stem, path.read_text(), str(path))
    assert stages(admission) == ALL_PASS, admission.refusal


def test_code_without_a_verdict_is_not_believed(child_that):
    child_that(f"printf '{PASSED}{END}code'; exit 0")
    assert not admit("made", RAID0, FILE).accepted


def test_a_child_that_sleeps_is_ended(child_that, monkeypatch):
    monkeypatch.setattr(module, "WALL_SECONDS", 0.1)
    child_that(f"printf '{PASSED}'; exec sleep 100")
    assert "the program took more than 0.1 s" in admit("made", RAID0, FILE).refusal


def test_a_child_that_closes_its_end_and_sleeps_is_ended(child_that, monkeypatch):
    monkeypatch.setattr(module, "WALL_SECONDS", 0.1)
    child_that(f"printf '{PASSED}'; exec sleep 100 >&- 2>&-")
    assert not admit("made", RAID0, FILE).accepted


def test_every_signal_has_words():
    for number in range(1, 32):
        assert words_of_death(-number)
    assert words_of_death(-34)


@pytest.mark.slow
def test_the_environment_of_the_user_changes_nothing(monkeypatch, tmp_path):
    (tmp_path / "json.py").write_text("raise SystemExit('not the real one')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path / "json.py"))
    assert admit("raid0", RAID0, FILE).accepted


LIMITED = """
import json, os, resource, sys
from pathlib import Path
from iomapd.jit.admission.limits import apply_limits
apply_limits()
def can(action):
    try:
        action()
    except OSError:
        return False
    return True
path = Path(sys.argv[1])
wrote = [
    can(lambda: path.write_text("x")),
    can(lambda: (path / "new").touch()),
    can(lambda: (path / "old").write_text("")),
    can(lambda: (path / "old").unlink()),
    can(lambda: (path / "directory").mkdir()),
    can(lambda: os.truncate(path / "old", 0)),
]
assert (path / "old").read_text() == "old"
try:
    bytearray(2 << 30)
    grew = True
except MemoryError:
    grew = False
names = "CPU AS FSIZE CORE NOFILE".split()
limits = {name: resource.getrlimit(getattr(resource, "RLIMIT_" + name)) for name in names}
print(json.dumps([wrote, grew, limits]))
"""


def limited(*command, path):
    done = subprocess.run(
        [*command, sys.executable, "-c", LIMITED, path], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_a_limited_process_writes_no_file_and_does_not_grow(tmp_path):
    (tmp_path / "old").write_text("old")
    wrote, grew, limits = limited(path=str(tmp_path))
    assert not any(wrote)
    assert not grew
    assert limits["CPU"] == [30, 31]
    assert limits["FSIZE"] == limits["CORE"] == [0, 0]


def test_limits_that_are_lower_already_stay(tmp_path):
    (tmp_path / "old").write_text("old")
    command = ["sh", "-c", 'ulimit -t 5; ulimit -n 20; exec "$@"', "sh"]
    *_, limits = limited(*command, path=str(tmp_path))
    assert limits["CPU"] == [4, 5]
    assert limits["NOFILE"] == [20, 20]


PATIENT = """
import sys
from iomapd.jit.admission import admit
text = open(sys.argv[1]).read()
print(admit("large", text, "large.py").refusal)
"""


@pytest.mark.slow
def test_a_program_that_takes_the_compiler_too_long_is_refused(tmp_path):
    lines = ["def iomap_begin(ctx):", "    a = ctx.pos", "    b = ctx.count"]
    for number in range(54):
        sums = " + ".join(f"(a ^ (b * {number + k})) % {number + k + 2}" for k in range(8))
        lines.append(f"    if a < b + {number}:\n        a = {sums}\n        b = b + a")
    lines += ["    ctx.strip = 0", "    ctx.addr = a", "    ctx.length = b", "    return 1\n"]
    path = tmp_path / "large.py"
    path.write_text("\n".join(lines))
    command = ["sh", "-c", 'ulimit -t 3; exec "$@"', "sh", sys.executable, "-c", PATIENT]
    done = subprocess.run([*command, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "large.py:1: the program took too much processor time; at most 30 s are allowed\n"
    )


def test_no_child_is_left():
    me = str(os.getpid())
    left = [
        pid
        for pid in os.listdir("/proc")
        if pid.isdigit() and _parent_of(pid) == me and b"admission.child" in _command_of(pid)
    ]
    assert left == []


def _parent_of(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[1]
    except OSError:
        return ""


def _command_of(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""
