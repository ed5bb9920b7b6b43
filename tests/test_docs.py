# SPDX-License-Identifier: MIT
"""What the documents say exists, and what exists is in the documents."""

import re
from pathlib import Path

import pytest
import typer

from iomapd.cli.main import app
from iomapd.cli.mount_options import FLAGS, WITH_VALUE

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "docs" / "command-line.md"
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]

each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))


def commands():
    """Every command by its words: {"layout get": <command>}."""
    found = {}
    for name, command in typer.main.get_command(app).commands.items():
        inner = getattr(command, "commands", None)
        if inner is None:
            found[name] = command
        else:
            found.update({f"{name} {sub}": leaf for sub, leaf in inner.items()})
    return found


COMMANDS = commands()


def options_of(command):
    return {
        option
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("-") and option not in ("-h", "--help")
    }


def section(name):
    """The text below the heading of a command in the reference."""
    text = REFERENCE.read_text()
    found = re.search(rf"^## iomapd {name}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"{REFERENCE.name} has no section: ## iomapd {name}"
    return found[1]


def code_of(path):
    """Lines of fenced code blocks, without prompts, and inline code."""
    text = path.read_text()
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return lines + re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_documented_and_every_documented_one_exists(name):
    documented = set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", section(name)))
    existing = options_of(COMMANDS[name])
    assert existing - documented == set()
    # Other programs' options may be spoken of: only what looks like a long option of ours counts.
    described = set(re.findall(r"^\| `(--[\w-]+)", section(name), re.MULTILINE))
    assert described - existing == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name):
    assert COMMANDS[name].help
    assert all(getattr(parameter, "help", None) for parameter in COMMANDS[name].params)


@pytest.mark.parametrize("option", [*FLAGS, *WITH_VALUE])
def test_every_mount_option_is_documented(option):
    assert re.search(rf"`{option}[=`]", section("mount"))


@each_document
def test_documented_commands_exist(path):
    tops = {name.split()[0] for name in COMMANDS}
    for line in code_of(path):
        if words := re.match(r"(?:sudo )?(?:\.venv/bin/)?iomapd ([a-z]+)", line):
            assert words[1] in tops, f"{path.name}: {line}"


@each_document
def test_documented_make_targets_exist(path):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in code_of(path):
        if words := re.match(r"make ([a-z-]+)", line):
            assert words[1] in targets, f"{path.name}: {line}"


@each_document
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name}: {target}"
