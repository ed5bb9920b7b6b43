# SPDX-License-Identifier: MIT
"""docs/walkthrough.md, typed as it stands: every file, every command, every answer.

A ``python`` block whose first line is ``# NAME`` is written to that file.  In a
``console`` block, lines after ``$`` are commands and the others what they must print;
``...`` stands for anything.  Everything happens in one empty directory, in order.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.mounted.plumbing import RUN_TOKEN

WALKTHROUGH = Path(__file__).parent.parent / "docs" / "walkthrough.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND_SECONDS = 120


class File(NamedTuple):
    """A file to be written."""

    name: str
    text: str


class Command(NamedTuple):
    """A command, and what it prints."""

    line: str
    output: str


def steps(text):
    """Everything that a reader does, in order."""
    for kind, block in BLOCK.findall(text):
        assert kind in ("python", "console"), f"a block of {kind} is no step"
        if kind == "python":
            name = re.match(r"# (\S+\.py)\n", block)
            assert name, f"a file without its name: {block[:40]}"
            yield File(name[1], block)
            continue
        assert block.startswith("$ ")
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, output = part.partition("\n")
            yield Command(line, output)


def is_like(found, shown):
    """Whether *found* is what is shown, with anything in the place of each ``...``."""
    # A line of dots alone may stand for no line at all.
    parts = re.split(r"(^\.\.\.\n|\.\.\.)", shown, flags=re.MULTILINE)
    anything = {"...\n": "(?:.*\n)?", "...": ".*"}
    pattern = "".join(anything.get(part) or re.escape(part) for part in parts)
    return re.fullmatch(pattern, found, re.DOTALL) is not None


@pytest.fixture
def typing(tmp_path, monkeypatch):
    """Run a command in an empty directory, as in a terminal that is none."""
    scripts = Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{scripts}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("IOMAPD_RUNTIME_DIR", str(tmp_path / "run"))
    assert RUN_TOKEN in os.environ  # servers that are left behind are found by it
    place = tmp_path / "empty"
    place.mkdir()
    monkeypatch.chdir(place)

    def run(line):
        return subprocess.run(
            ["bash", "-c", line],
            cwd=place,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS,
        )

    yield run
    if (place / "mnt").is_mount():
        run("iomapd umount mnt")


@pytest.mark.mounted
def test_the_walkthrough_works_as_written(typing):
    for step in steps(WALKTHROUGH.read_text()):
        if isinstance(step, File):
            Path(step.name).write_text(step.text)
            continue
        done = typing(step.line)
        assert is_like(done.stdout, step.output), (
            f"$ {step.line}\nprints\n{done.stdout}\ninstead of\n{step.output}"
        )
        assert done.returncode == 0, f"$ {step.line}: exit status {done.returncode}"


@pytest.mark.parametrize(
    ("found", "shown", "expected"),
    [
        ("a\n", "a\n", True),
        ("a\n", "b\n", False),
        ("", "...\n", True),
        ("x\ny\n", "...\n", True),
        ("took 5 ns\n", "took ... ns\n", True),
        ("head\nx\ny\ntail\n", "head\n...\ntail\n", True),
        ("head\ntail\n", "head\n...\ntail\n", True),
        ("head\nx\n", "head\n", False),
    ],
)
def test_dots_stand_for_anything(found, shown, expected):
    assert is_like(found, shown) == expected


def test_steps_are_read_in_order():
    text = "```python\n# a.py\nx\n```\nwords\n```console\n$ one\n1\n2\n$ two\n```\n"
    assert list(steps(text)) == [
        File("a.py", "# a.py\nx\n"),
        Command("one", "1\n2\n"),
        Command("two", ""),
    ]
