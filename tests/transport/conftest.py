# SPDX-License-Identifier: MIT
"""The functions of transport/, interpreted and compiled, for the same tests."""

import pytest

from iomapd.jit import load_unit
from iomapd.transport.edits import edit_open_reply, edit_request
from iomapd.transport.pending import remember, settle
from iomapd.transport.relays import notifier, relay_in, relay_out


# Void functions become entries by answering one.
def edit(message, length, opcode):
    edit_request(message, length, opcode)
    return 1


def note(table, unique, opens):
    remember(table, unique, opens)
    return 1


FUNCTIONS = [relay_in, relay_out, notifier, edit, edit_open_reply, note, settle]


@pytest.fixture(scope="session")
def compiled_unit():
    return load_unit("test-transport", FUNCTIONS)


@pytest.fixture(params=["interpreted", "compiled"])
def functions(request, compiled_unit):
    """Functions by name, as one of the two worlds runs them."""
    if request.param == "interpreted":
        return {function.__name__: function for function in FUNCTIONS}
    return {f.__name__: compiled_unit.function(f.__name__) for f in FUNCTIONS}
