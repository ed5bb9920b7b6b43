# SPDX-License-Identifier: MIT
"""The house rules that a machine can keep.  Each test names every offender, file and line."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROOMS = ("iomapd", "programs", "devices", "bench", "tests")
SOURCES = sorted(
    path for room in ROOMS for path in (ROOT / room).rglob("*.py") if path.stat().st_size
)
SCRIPTS = [ROOT / "Makefile", ROOT / ".ci" / "run", *sorted((ROOT / "devices").rglob("*.sh"))]
TEXTS = [*SOURCES, *SCRIPTS, *sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]

LINES_MAX = 600
FUNCTION_LINES_MAX = 70
# Split, so that this file does not offend itself.
MARKERS = ("TO" + "DO", "FIX" + "ME", "XX" + "X:")

TREES = {path: ast.parse(path.read_text()) for path in SOURCES}


def place(path, line=None):
    return f"{path.relative_to(ROOT)}:{line}" if line else str(path.relative_to(ROOT))


def nodes(*kinds, inside=""):
    """Every node of *kinds* in the sources below *inside*, with its place."""
    for path, tree in TREES.items():
        if path.is_relative_to(ROOT / inside):
            for node in ast.walk(tree):
                if isinstance(node, kinds):
                    yield node, place(path, getattr(node, "lineno", None))


def test_the_licence_stands_on_top():
    def top(path):
        first, second, *_ = [*path.read_text().splitlines(), "", ""]
        return second if first.startswith("#!") else first

    wrong = [p for p in (*SOURCES, *SCRIPTS) if top(p) != "# SPDX-License-Identifier: MIT"]
    assert [place(path) for path in wrong] == []


def test_only_the_command_line_prints():
    printing = [
        where
        for call, where in nodes(ast.Call, inside="iomapd")
        if isinstance(call.func, ast.Name) and call.func.id == "print"
    ]
    assert [where for where in printing if not where.startswith("iomapd/cli/")] == []


def test_no_test_sleeps():
    calls = [w for n, w in nodes(ast.Attribute, inside="tests") if ast.unparse(n) == "time.sleep"]
    names = [
        where
        for node, where in nodes(ast.ImportFrom, inside="tests")
        if node.module == "time" and "sleep" in {alias.name for alias in node.names}
    ]
    assert calls + names == []


def test_no_error_is_swallowed_whole():
    swallowed = [
        where
        for handler, where in nodes(ast.ExceptHandler)
        if (handler.type is None or ast.unparse(handler.type) in ("Exception", "BaseException"))
        and all(isinstance(node, ast.Pass | ast.Continue) for node in handler.body)
    ]
    assert swallowed == []


def test_files_are_short():
    long = [path for path in SOURCES if len(path.read_text().splitlines()) > LINES_MAX]
    assert [place(path) for path in long] == []


def test_functions_are_short():
    long = [
        f"{where} {node.name}"
        for node, where in nodes(ast.FunctionDef, ast.AsyncFunctionDef)
        if node.end_lineno - node.lineno >= FUNCTION_LINES_MAX
    ]
    assert long == []


def test_nothing_is_left_for_later():
    unfinished = [
        place(path, number)
        for path in TEXTS
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if any(marker in line for marker in MARKERS)
    ]
    assert unfinished == []


def bound_names(tree):
    """What a module binds at its top."""
    for node in tree.body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name
            case ast.Import() | ast.ImportFrom():
                yield from (alias.asname or alias.name for alias in node.names)
            case ast.Assign():
                yield from (ast.unparse(target) for target in node.targets)
            case ast.AnnAssign():
                yield ast.unparse(node.target)


def test_what_is_exported_exists():
    missing = [
        f"{where} {name}"
        for assignment, where in nodes(ast.Assign)
        if ast.unparse(assignment.targets[0]) == "__all__"
        for name in ast.literal_eval(assignment.value)
        if name not in set(bound_names(TREES[ROOT / where.partition(":")[0]]))
    ]
    assert missing == []


def test_every_module_of_the_package_says_what_it_is():
    mute = [path for path, tree in TREES.items() if not ast.get_docstring(tree)]
    assert [place(path) for path in mute if path.is_relative_to(ROOT / "iomapd")] == []
