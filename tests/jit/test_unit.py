# SPDX-License-Identifier: MIT
"""Units: compiled once, loaded without numba, called without the interpreter lock."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from iomapd.jit import load_unit
from iomapd.jit.build import CRASHED, build_object
from iomapd.jit.sources import CompileError
from iomapd.native.region import Region

ROOT = Path(__file__).parent.parent.parent

SOURCE = """
from iomapd.native.memory import load64, store64
from iomapd.native.syscalls import read
SCALE = 3
def weigh(x):
    return x * SCALE
def total(addr, count):
    result = 0
    for index in range(count):
        result += weigh(load64(addr + 8 * index))
    return result
def wait_for_byte(fd, addr):
    return read(fd, addr, 1)
"""

WARM = """
import sys
from pathlib import Path
source = Path(sys.argv[1]).read_text()
made = {"__name__": "made"}
exec(compile(source, sys.argv[1], "exec"), made)
from iomapd.jit import load_unit
unit = load_unit("made", [made["total"], made["wait_for_byte"]], Path(sys.argv[2]))
assert not unit.compiled, "compiled again"
heavy = sorted({"numba", "numpy"} & set(sys.modules))
assert not heavy, f"imported on the warm path: {heavy}"
assert unit.function("total")(0, 0) == 0
"""


@pytest.fixture
def made(module_of):
    return module_of(SOURCE)


def load(made, object_dir):
    return load_unit("made", [made.total, made.wait_for_byte], object_dir)


@pytest.mark.slow
def test_a_second_load_compiles_nothing(made, object_dir):
    first, second = load(made, object_dir), load(made, object_dir)
    assert (first.compiled, second.compiled) == (True, False)
    assert first.path == second.path


@pytest.mark.slow
def test_a_damaged_object_is_compiled_again(made, object_dir):
    path = load(made, object_dir).path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert load(made, object_dir).compiled
    assert not load(made, object_dir).compiled


@pytest.mark.slow
def test_editing_a_helper_compiles_again(made, module_of, object_dir):
    before = load(made, object_dir)
    after = load(module_of(SOURCE.replace("SCALE = 3", "SCALE = 4")), object_dir)
    assert after.compiled
    assert after.path != before.path


@pytest.mark.slow
def test_a_warm_process_never_imports_numba(made, object_dir, tmp_path):
    load(made, object_dir)
    subprocess.run(
        [sys.executable, "-c", WARM, str(tmp_path / "made.py"), str(object_dir)],
        cwd=ROOT,
        check=True,
    )


def test_without_a_directory_it_is_compiled_in_memory(made, tmp_path):
    (tmp_path / "file").write_text("in the way")
    unit = load(made, tmp_path / "file" / "objects")
    assert unit.path is None
    assert unit.function("total")(0, 0) == 0


def test_a_waiting_call_leaves_the_interpreter_free(made, object_dir):
    wait = load(made, object_dir).function("wait_for_byte")
    region = Region(4096)
    reader, writer = os.pipe()
    thread = threading.Thread(target=wait, args=(reader, region.addr))
    thread.start()
    # With the lock held by the waiting thread this line would never be reached.
    os.write(writer, b"x")
    thread.join(timeout=10)
    assert region.read(0, 1) == b"x"
    os.close(reader)
    os.close(writer)


def test_a_crash_is_never_a_success(module_of, object_dir):
    made = module_of("def check(a):\n    assert a > 0\n    return a\n")
    check = load_unit("crash", [made.check], object_dir).function("check")
    assert [check(7), check(-7)] == [7, CRASHED]


@pytest.mark.slow
def test_a_function_that_needs_the_interpreter_is_refused(module_of):
    made = module_of("def entry(a):\n    return len(str(a))\n")
    with pytest.raises(CompileError):
        build_object("entry", [made.entry])


def test_two_entries_of_one_name_are_refused(made, object_dir):
    with pytest.raises(CompileError, match="two entries have the same name"):
        load_unit("made", [made.total, made.total], object_dir)


def test_an_unknown_entry_is_a_key_error(made, object_dir):
    unit = load(made, object_dir)
    with pytest.raises(KeyError):
        unit.function("missing")
