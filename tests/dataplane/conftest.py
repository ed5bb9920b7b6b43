# SPDX-License-Identifier: MIT
"""The data plane, interpreted and compiled, for the same tests."""

import pytest

from iomapd.dataplane.serve import serve
from iomapd.transport.lanes import compile_lanes

FUNCTIONS = [serve]


@pytest.fixture(scope="session")
def compiled_unit():
    return compile_lanes()  # the product's own object: compiled once for all tests


@pytest.fixture(params=["interpreted", "compiled"])
def functions(request):
    """Functions by name, as one of the two worlds runs them."""
    if request.param == "interpreted":
        return {function.__name__: function for function in FUNCTIONS}
    unit = request.getfixturevalue("compiled_unit")
    return {f.__name__: unit.function(f.__name__) for f in FUNCTIONS}
