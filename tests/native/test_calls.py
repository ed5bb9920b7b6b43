# SPDX-License-Identifier: MIT
"""Calls by address reach the function, interpreted and compiled, with all 64 bits."""

import ctypes

import pytest

from iomapd.jit import load_unit
from iomapd.native.calls import ENTRY, call1, call2, library_function


def call_twice(function, argument):
    return call1(function, call1(function, argument))


def power(function, first, second):
    return call2(function, first, second)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    return load_unit("calls", [call_twice, power], tmp_path_factory.mktemp("jit") / "objects")


@pytest.fixture(params=["interpreted", "compiled"])
def twice(request, compiled):
    return compiled.function("call_twice") if request.param == "compiled" else call_twice


@pytest.mark.parametrize("argument", [0, 1, -3, 2**60, -(2**61)])
def test_a_python_function_can_be_called_by_its_address(twice, argument):
    entry = ENTRY(lambda value: 2 * value)
    address = ctypes.cast(entry, ctypes.c_void_p).value
    assert twice(address, argument) == 4 * argument


@pytest.mark.parametrize("how", ["interpreted", "compiled"])
def test_a_function_of_the_c_library_is_called_with_both_arguments(compiled, how):
    function = compiled.function("power") if how == "compiled" else power
    text = ctypes.create_string_buffer(b"a-b")
    assert function(library_function("strchr"), ctypes.addressof(text), ord("-")) == (
        ctypes.addressof(text) + 1
    )
