# SPDX-License-Identifier: MIT
"""What is allowed passes, and nothing at all gets through as anything but a refusal or a tree.

What must not pass is in tests/programs/hostile.
"""

import contextlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iomapd.errors import ProgramError
from iomapd.jit.admission.bounded import step_bound
from iomapd.jit.admission.parse import parse_program
from iomapd.jit.admission.tree import ParsedProgram
from tests.jit.admission.sources import EVERYTHING, RAID0


def parse(text):
    return parse_program("made", text, "made.py")


def begin(body, above=""):
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return parse(f"{above}def iomap_begin(ctx):\n{lines}    return 0\n")


def test_everything_that_is_allowed_passes():
    program = parse(EVERYTHING)
    assert program.doc == "Everything that is allowed."
    assert program.params == ("object_size", "key")
    assert program.counters == ("short", "failed")
    assert program.entries == ("iomap_begin", "iomap_end", "iomap_ioend")
    assert program.uses_seed


def test_callees_come_before_callers():
    names = list(parse(EVERYTHING).functions)
    assert names.index("mix") < names.index("twice") < names.index("iomap_begin")


def test_fields_are_the_inputs_that_are_read():
    program = parse(RAID0)
    assert program.fields == {"pos", "unit", "nr_strips", "count"}
    assert not program.uses_seed


def test_a_parameter_goes_by_its_name_and_by_its_word():
    text = 'PARAMS = ("size", "key")\ndef iomap_begin(ctx):\n    return {} - {}\n'
    with pytest.raises(ProgramError, match=r"leaves ctx\.strip"):
        parse(text.format("ctx.size", "ctx.p0"))
    assert parse(
        'PARAMS = ("size", "key")\ndef iomap_begin(ctx):\n    x = ctx.p1 - ctx.key\n    return 0\n'
    ).fields == {"key"}


def test_windows_line_ends_and_a_missing_last_one_are_fine():
    assert parse(RAID0.replace("\n", "\r\n")).statements == 7
    assert parse(RAID0.rstrip("\n")).statements == 7


def test_pictures_in_docstrings_and_comments_are_fine():
    assert begin(
        "x = 1  # \u2192 \u2502 caf\u00e9", above='"""\u250c\u2500\u2510 r\u00e9sum\u00e9"""\n'
    )


def test_a_backslash_in_a_docstring_warns_nobody():
    assert begin("x = 1", above='"""\\d \\w"""\n')


def test_every_extreme_number_is_itself():
    body = "a = -9223372036854775808\nb = 9223372036854775807\nc = -(-5)\nd = ~0\ne = +7\n"
    statements = begin(body).functions["iomap_begin"].body
    values = [statement.value.value for statement in statements[:-1]]
    assert values == [-(2**63), 2**63 - 1, 5, -1, 7]


def test_named_constants_divide_and_bound_loops():
    assert begin("x = ctx.pos // BLOCK\nfor i in range(N, 2 * N):\n    x += i",
                 above="BLOCK = 1 << 12\nN = 3\n")  # fmt: skip


def test_longest_and_deepest_that_is_allowed():
    assert begin("x = 1\n" * 199).statements == 200
    assert begin("x = " + "(" * 16 + "1" + ")" * 16)
    assert begin("x = ctx.pos" + " + 1" * 30)


@pytest.mark.parametrize("text", ["x = 1;y = 2", "if ctx.pos: x = 1"])
def test_style_is_no_business_of_ours(text):
    assert begin(text)


SOUP = """
def iomap_begin(ctx): return if else elif for in range while not and or lambda
import from class with try except yield await async global pass break del match case
ctx .pos .strip x y = += == < // % ** << ( ) [ ] { } , : @ -> := ~ - 0 1 0x 1e9 1j
'x' b'x' f'{x}' \\ # * _ __class__ None True
"""
WORDS = [*SOUP.split(), '"""', "\n", "\n    ", "\n        ", "\t", " ", "\0", "\u00e9", "9" * 30]


def only_refuses(text):
    # Anything else that is raised fails the test.
    with contextlib.suppress(ProgramError):
        assert isinstance(parse(text), ParsedProgram)


@given(st.lists(st.sampled_from(WORDS), max_size=60))
def test_words_in_any_order_are_refused_or_parsed(words):
    only_refuses(" ".join(words))
    only_refuses("def iomap_begin(ctx):\n    " + "".join(words))


@given(st.text(alphabet=st.characters(), max_size=200))
def test_any_text_is_refused_or_parsed(text):
    only_refuses(text)


@given(st.data())
def test_a_damaged_program_is_refused_or_parsed(data):
    start = data.draw(st.integers(0, len(EVERYTHING)))
    length = data.draw(st.integers(0, 12))
    patch = data.draw(st.text(alphabet=string.printable, max_size=12))
    only_refuses(EVERYTHING[:start] + patch + EVERYTHING[start + length :])


@pytest.mark.parametrize(
    ("body", "steps", "size"),
    [
        ("x = 1", 1, 1),
        ("x = ctx.pos + ctx.unit * 2", 3, 3),
        ("x = min(ctx.pos, 3) if ctx.pos else 0", 4, 4),
        ("for i in range(5):\n    x = i", 1 + 5 * 2, 3),
        ("for i in range(5, 0):\n    x = i", 1, 3),
        ("if ctx.pos:\n    x = 1\nelse:\n    x = ctx.pos + 1", 1 + 1 + 2, 1 + 1 + 3),
        ("if ctx.pos:\n    return 0\nx = 1\nx = 2", 1 + 1 + 2 , 1 + 1 + 1 + 2),
    ],
)  # fmt: skip
def test_steps_and_size_are_counted_as_documented(body, steps, size):
    # The return at the end is one more of each.
    assert step_bound(begin(body)) == (steps + 1, size + 1)


def test_a_call_costs_what_its_function_costs():
    above = "def f(x):\n    return x + 1\n"
    assert step_bound(begin("x = f(f(1))", above)) == (1 + 2 * (1 + 2) + 1,) * 2
