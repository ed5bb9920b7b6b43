# SPDX-License-Identifier: MIT
"""bpftool, which knows nothing of iomapd, loads what --emit writes and shows the user's lines."""

import json
import os
import shutil
import subprocess

import pytest

from iomapd.jit.bpf.disassemble import disassemble
from iomapd.jit.bpf.elf import read_object
from tests.jit.admission.sources import EVERYTHING
from tests.jit.bpf.conftest import made, parsed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("kernel"),
    pytest.mark.skipif(os.geteuid() != 0, reason="a file system of its own needs root"),
    pytest.mark.skipif(
        not shutil.which("bpftool", path=f"{os.environ['PATH']}:/usr/sbin:/sbin"),
        reason="bpftool is not installed: apt-get install bpftool",
    ),
]

# In a mount namespace of its own: whatever happens, nothing stays behind.
SCRIPT = """
set -e
mount -t bpf bpf "$1"
bpftool prog load "$2" "$1/made" type syscall
bpftool --json prog show pinned "$1/made"
echo
bpftool prog show name iomap_begin
echo ---
bpftool prog dump xlated pinned "$1/made"
"""


def load(tmp_path, data):
    """Load an object; what ``prog show`` and ``prog dump xlated`` say, and complaints."""
    place, path = tmp_path / "bpf", tmp_path / "made.o"
    place.mkdir()
    path.write_bytes(data)
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", SCRIPT, "sh", str(place), str(path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
    )
    assert done.returncode == 0, done.stderr
    shown, _, dumped = done.stdout.partition("---\n")
    as_json, _, listed = shown.partition("\n")
    return json.loads(as_json), listed, dumped, done.stderr


def test_bpftool_loads_and_lists_a_program(tmp_path):
    found, listed, dumped, complaints = load(tmp_path, made("raid0"))
    assert complaints == ""
    assert (found["type"], found["name"]) == ("syscall", "iomap_begin")
    assert found["btf_id"] > 0
    assert "syscall  name iomap_begin" in listed
    assert "; unit_index = ctx.pos // ctx.unit" in dumped
    assert dumped.startswith("long iomap_begin(struct iomap_ctx * ctx):\n")


# Divisions by numbers that are not constant get a test for zero from the kernel.
CONSTANT = """\
def iomap_begin(ctx):
    ctx.strip = ctx.pos // 4096 % 3
    if ctx.seed > 1 << 40:
        ctx.strip = 7 - (ctx.seed ^ -2)
    ctx.addr = (ctx.pos >> 3) * 5 & 0xfffffffffff
    ctx.length = max(ctx.count, ctx.addr)
    return 1
"""


def test_our_listing_is_bpftools(tmp_path):
    data = made("constant", CONSTANT)
    *_, dumped, _ = load(tmp_path, data)
    assert disassemble(read_object(data)["iomap_begin"]) + "\n" == dumped


def test_an_object_with_three_programs_loads(tmp_path):
    found, *_, complaints = load(tmp_path, made("everything", EVERYTHING))
    assert complaints == ""
    assert found["name"] == "iomap_begin"


def test_btf_names_the_parameters(tmp_path):
    data = made("everything", EVERYTHING)
    for name in (*parsed("everything", EVERYTHING).params, "strip_length"):
        assert name.encode() in data
