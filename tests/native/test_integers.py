# SPDX-License-Identifier: MIT
"""Sums wrap and division floors, interpreted and compiled, whatever the numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iomapd.jit import load_unit
from iomapd.native.integers import add, divide, modulo, multiply, subtract

WORD = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-9, 9))
POWER = st.integers(0, 62).map(lambda n: 1 << n)
DIVISOR = st.one_of(POWER, st.integers(1, 100), st.integers(1, 2**63 - 1))


def distance(left, right):
    # With numba's own operator LLVM concludes that left < right means left - right < 0.
    difference = subtract(left, right)
    return difference if difference > 0 else subtract(0, difference)


def polynomial(left, right):
    return add(multiply(left, multiply(left, right)), add(left, right))


def quotient(value, divisor):
    return divide(value, divisor)


def rest(value, divisor):
    return modulo(value, divisor)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    unit = load_unit(
        "integers",
        [quotient, rest, distance, polynomial],
        tmp_path_factory.mktemp("jit") / "objects",
    )
    return {name: unit.function(name) for name in ("quotient", "rest", "distance", "polynomial")}


def wrap(value):
    return (value + 2**63) % 2**64 - 2**63


@given(left=WORD, right=WORD)
def test_sums_and_products_wrap_in_both_worlds(compiled, left, right):
    expected = wrap(abs(wrap(left - right)))
    assert distance(left, right) == compiled["distance"](left, right) == expected
    expected = wrap(left * left * right + left + right)
    assert polynomial(left, right) == compiled["polynomial"](left, right) == expected


@given(value=WORD, divisor=DIVISOR)
def test_division_floors_in_both_worlds(compiled, value, divisor):
    expected = divmod(value, divisor)
    assert (divide(value, divisor), modulo(value, divisor)) == expected
    functions = compiled["quotient"], compiled["rest"]
    assert tuple(function(value, divisor) for function in functions) == expected


@pytest.mark.parametrize("divisor", [0, -1, -4096, -(2**63)])
@pytest.mark.parametrize("value", [0, 5, -(2**63)])
def test_no_divisor_ends_the_process(compiled, value, divisor):
    # What the answer is does not matter: the processor's exception would be the end.
    for function in (compiled["quotient"], compiled["rest"], divide, modulo):
        assert isinstance(function(value, divisor), int)
