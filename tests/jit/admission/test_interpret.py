# SPDX-License-Identifier: MIT
"""The oracle: 64 bits that wrap, division that floors, and otherwise Python."""

import runpy
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iomapd.abi.program import CTX_WORDS, END_WORDS, NR_WORDS
from iomapd.abi.shipped import shipped_dir
from iomapd.errors import ProgramError
from iomapd.jit.admission.interpret import interpret, wrap
from iomapd.jit.admission.parse import parse_program
from tests.jit.admission.sources import EVERYTHING, RAID0

ENTRY = """
def iomap_begin(ctx):
    ctx.strip = 0
    ctx.addr = 0
    ctx.length = 0
    return 1
"""
LOWEST = -(2**63)
HIGHEST = 2**63 - 1
WORD = st.integers(LOWEST, HIGHEST)


def evaluate(expression, above="", **fields):
    text = (
        f"{above}def iomap_begin(ctx):\n    ctx.strip = {expression}\n"
        "    ctx.addr = 0\n    ctx.length = 0\n    return 1\n"
    )
    words = [0] * NR_WORDS
    for name, value in fields.items():
        words[CTX_WORDS.index(name)] = value
    status = interpret(parse_program("made", text, "made.py"))(words)
    return status, words[CTX_WORDS.index("strip")]


@pytest.mark.parametrize(
    ("expression", "fields", "value"),
    [
        ("ctx.pos + 1", {"pos": HIGHEST}, LOWEST),
        ("ctx.pos - 1", {"pos": LOWEST}, HIGHEST),
        ("-ctx.pos", {"pos": LOWEST}, LOWEST),
        ("abs(ctx.pos)", {"pos": LOWEST}, LOWEST),
        ("~ctx.pos", {"pos": LOWEST}, HIGHEST),
        ("ctx.pos * ctx.pos", {"pos": 2**32}, 0),
        ("ctx.pos << 63", {"pos": 3}, LOWEST),
        ("ctx.pos >> 63", {"pos": LOWEST}, -1),
        ("ctx.pos // 4", {"pos": -1}, -1),
        ("ctx.pos % 4", {"pos": -1}, 3),
        ("ctx.pos // ctx.unit", {"pos": LOWEST, "unit": HIGHEST}, -2),
        ("1 if ctx.pos < 3 <= ctx.unit else 2", {"pos": 2, "unit": 3}, 1),
        ("1 if ctx.pos < 3 <= ctx.unit else 2", {"pos": 2, "unit": 2}, 2),
        ("1 if ctx.pos else 2", {"pos": -1}, 1),
        ("1 if not ctx.pos or ctx.unit else 2", {"pos": 1}, 2),
        ("min(ctx.pos, -4, 5)", {"pos": 2}, -4),
        ("max(ctx.pos, -4, 5)", {"pos": 2}, 5),
    ],
)
def test_arithmetic(expression, fields, value):
    assert evaluate(expression, **fields) == (1, value)


@pytest.mark.parametrize("unit", [0, -1, LOWEST])
def test_a_unit_that_is_not_positive_is_a_fallback_and_changes_nothing(unit):
    assert evaluate("ctx.pos // ctx.unit", pos=5, unit=unit) == (0, 0)


@given(st.integers())
def test_wrap_keeps_the_low_64_bits(value):
    assert LOWEST <= wrap(value) <= HIGHEST
    assert (wrap(value) - value) % 2**64 == 0


def test_loops_break_and_continue():
    body = "def f(n):\n    x = 0\n    for i in range(10):\n        if i == n:\n            break\n"
    body += "        if i % 2:\n            continue\n        x += i\n    return x\n"
    assert evaluate("f(ctx.pos)", above=body, pos=7) == (1, 0 + 2 + 4 + 6)


def test_a_return_inside_loops_ends_the_function():
    body = "def f(n):\n    for i in range(9):\n        for j in range(9):\n"
    body += "            if i * j == n:\n                return i\n    return -1\n"
    assert evaluate("f(ctx.pos)", above=body, pos=42) == (1, 6)
    assert evaluate("f(ctx.pos)", above=body, pos=43) == (1, -1)


def test_a_call_has_variables_of_its_own():
    body = "def f(x):\n    x += 1\n    y = x\n    return y\n"
    assert evaluate("f(ctx.pos) + f(ctx.pos)", above=body, pos=1) == (1, 4)


def test_counters_begin_at_zero_and_take_increments():
    run = interpret(parse_program("made", EVERYTHING, "made.py"), "iomap_end")
    words = [0] * NR_WORDS
    words[END_WORDS.index("count")] = 4096
    words[END_WORDS.index("error")] = 5
    assert run(words) == 1
    assert words[END_WORDS.index("c0")] == 1
    assert words[END_WORDS.index("c1")] == 1


SHIPPED = sorted(path.stem for path in shipped_dir("programs").glob("*.py"))


@pytest.mark.parametrize("name", SHIPPED)
@given(
    unit=st.integers(1, 1024).map(lambda n: n * 4096),
    nr_strips=st.integers(1, 64),
    rows=st.integers(1, 1000),
    seed=st.integers(0, 2**40),
    place=st.floats(0, 1, exclude_max=True),
)
def test_a_shipped_program_means_what_python_says(name, unit, nr_strips, rows, seed, place):
    # Without overflow a program is plain Python: run as such, it is an oracle of the oracle.
    path = shipped_dir("programs") / f"{name}.py"
    program = parse_program(name, path.read_text(), str(path))
    length = unit * nr_strips * rows
    pos = int(place * (length // 4096)) * 4096
    words = [pos, length - pos, unit, nr_strips, unit * rows, seed, *[4 * unit] * 8]
    words += [0] * (NR_WORDS - len(words))
    ctx = SimpleNamespace(**dict(zip(CTX_WORDS, words, strict=False)))
    for index, param in enumerate(program.params):
        setattr(ctx, param, words[6 + index])
    status = runpy.run_path(str(path))["iomap_begin"](ctx)
    assert interpret(program)(words) == status == 1
    assert words[14:17] == [ctx.strip, ctx.addr, ctx.length]


def test_the_deepest_program_fits_the_interpreter():
    # min takes more Python frames than a sum, but brackets end before the depth does.
    deepest = "min(1, " * 14 + "x + " * 18 + "{}" + ")" * 14
    functions = [f"def f8(x):\n    return {deepest.format('x')}\n"]
    for n in range(1, 8):
        functions.append(f"def f{n}(x):\n    return {deepest.format(f'f{n + 1}(x)')}\n")
    text = "".join(functions) + ENTRY.replace("= 0", "= f1(ctx.pos)", 1)
    words = [0] * NR_WORDS
    assert interpret(parse_program("made", text, "made.py"))(words) == 1
    with pytest.raises(ProgramError, match="nested deeper than 40"):
        parse_program("made", text.replace("x + x", "x + x + x + x"), "made.py")


def test_an_unknown_entry_is_a_key_error():
    with pytest.raises(KeyError):
        interpret(parse_program("made", RAID0, "made.py"), "iomap_end")
