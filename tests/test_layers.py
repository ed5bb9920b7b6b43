# SPDX-License-Identifier: MIT
"""The building: imports go down, never up, never sideways; heavy libraries stay in their rooms."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "iomapd"

# Lowest floor first.  A room imports from itself and from lower floors; rooms
# that share a floor do not know each other.
FLOORS = [
    {"errors"},
    {"abi", "native"},
    {"geometry"},
    {"mapping"},
    {"volume", "meta", "jit"},
    {"cache"},
    {"dataplane"},
    {"transport"},
    {"control"},
    {"fuse"},
    {"server"},
    {"tools"},
    {"cli"},
    {"__main__"},
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
KEPT_IN = {
    "numba": {"jit"},
    "llvmlite": {"jit"},
    "elftools": {"jit"},
    "pyfuse3": {"fuse"},
    "sqlite3": {"meta"},
    "trio": {"control", "fuse", "server"},
    "numpy": {"jit", "native"},
    "pydantic": {"volume"},
    "matplotlib": {"tools"},
    "typer": {"cli"},
    "click": {"cli"},
    "rich": {"cli"},
}
MODULES = sorted(p for p in ROOT.rglob("*.py") if p != ROOT / "__init__.py")


def room_of(path):
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def imported_names(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the floor"
            if node.module == "iomapd":
                yield from (f"iomapd.{alias.name}" for alias in node.names)
            else:
                yield node.module


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_module_keeps_to_its_floor(path):
    here = room_of(path)
    for name in imported_names(path):
        top, *rest = name.split(".")
        assert here in KEPT_IN.get(top, {here}), f"{top} stays out of {here}/"
        if top == "iomapd" and rest and rest[0] not in (here, "__version__"):
            assert FLOOR_OF[rest[0]] < FLOOR_OF[here], f"{here}/ must not see {name}"
