# SPDX-License-Identifier: MIT
"""The key covers everything that shapes an object file, and nothing else."""

import pytest

from iomapd.jit import machine, sources
from iomapd.jit.sources import CompileError, reachable, unit_key

SOURCE = """
LIMIT = 10
def helper(x):
    return x * 2
def step(x):
    return helper(x) + LIMIT
def entry(a, b):
    return step(a) - b
"""


def key(module):
    return unit_key("unit", [module.entry])


def test_callees_come_before_callers(module_of):
    names = [function.__name__ for function in reachable([module_of(SOURCE).entry])]
    assert names == ["helper", "step", "entry"]


def test_the_same_text_has_the_same_key(module_of):
    assert key(module_of(SOURCE)) == key(module_of(SOURCE))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x * 2", "x * 3"),  # a helper two calls down
        ("LIMIT = 10", "LIMIT = 11"),  # a constant
        ("- b", "+ b"),  # the entry itself
        ("entry(a, b)", "entry(a, b, c)"),
    ],
)
def test_editing_anything_that_is_reached_changes_the_key(module_of, old, new):
    assert key(module_of(SOURCE)) != key(module_of(SOURCE.replace(old, new)))


def test_moving_the_text_does_not_change_the_key(module_of):
    moved = "# a comment\n\n" + SOURCE + "\ndef unrelated():\n    return 1\n"
    assert key(module_of(SOURCE)) == key(module_of(moved))


def test_the_processor_and_the_compiler_are_part_of_the_key(module_of, monkeypatch):
    module = module_of(SOURCE)
    keys = {key(module)}
    monkeypatch.setattr(machine, "cpu", lambda: ("other", "+feature"))
    keys.add(key(module))
    monkeypatch.setattr(machine, "llvmlite_version", lambda: "0.0")
    keys.add(key(module))
    monkeypatch.setattr(sources, "OBJECT_ABI", 99)
    keys.add(key(module))
    assert len(keys) == 4


def test_the_compiler_room_itself_is_part_of_the_key(module_of, monkeypatch, tmp_path):
    module = module_of(SOURCE)
    before = key(module)
    changed = tmp_path / "natives.py"
    changed.write_text("# another instruction sequence")
    files = [*sources._compiler_files()[:-1], changed]
    monkeypatch.setattr(sources, "_compiler_files", lambda: files)
    assert key(module) != before


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import os\ndef entry(a):\n    return os.O_RDWR", "made.entry uses os, a module"),
        ("T = (1, 2)\ndef entry(a):\n    return T[a]", "made.entry uses T, a tuple"),
        ("def entry(a):\n    return missing(a)", "uses missing, which is not defined"),
        ("def entry(a, b=1):\n    return a", "made.entry has defaults"),
        ("def f(x):\n    def entry(a):\n        return a + x\n    return entry\nentry = f(1)",
         "closure"),
        ("entry = abs", "not a plain function"),
    ],
)  # fmt: skip
def test_what_would_escape_the_key_is_refused_by_name(module_of, source, message):
    with pytest.raises(CompileError, match=message):
        key(module_of(source))
