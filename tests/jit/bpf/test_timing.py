# SPDX-License-Identifier: MIT
"""Every shipped program is timed in the kernel: in a loop, or as calls in a row."""

import ctypes

import pytest

from iomapd.abi.program import BEGIN, CTX_WORDS, NR_WORDS
from iomapd.abi.shipped import shipped_dir
from iomapd.jit.bpf import timing
from iomapd.jit.bpf.elf import read_object
from iomapd.jit.bpf.kernel import KernelProgram
from tests.jit.bpf.conftest import made

pytestmark = pytest.mark.usefixtures("kernel")
SHAPE = {"unit": 64 << 10, "nr_strips": 4, "strip_length": 1 << 30, "seed": 1}
ROUNDS_WORD = NR_WORDS - 1


def code_of(name):
    return read_object(made(name))[BEGIN].code


@pytest.mark.parametrize("name", sorted(p.stem for p in shipped_dir("programs").glob("*.py")))
def test_each_shipped_program_is_timed(name, monkeypatch):
    monkeypatch.setattr(timing, "TURNS", range(2))
    turns = timing.time_call(code_of(name), SHAPE)
    assert len(turns) == 2


@pytest.mark.parametrize(("frame", "calls"), [(timing._loop(), 21), (timing._row(8), 8)])
def test_what_is_timed_asks_for_one_block_after_the_other(frame, calls):
    record = (ctypes.c_int64 * NR_WORDS)()
    length = SHAPE["nr_strips"] * SHAPE["strip_length"]
    for name, value in {**SHAPE, "count": length}.items():
        record[CTX_WORDS.index(name)] = value
    record[ROUNDS_WORD] = calls
    with KernelProgram(frame + code_of("linear"), "rounds") as program:
        program.run(record)
    assert record[CTX_WORDS.index("pos")] == (calls - 1) * 4096
    assert record[CTX_WORDS.index("count")] == length - (calls - 1) * 4096
    assert record[CTX_WORDS.index("addr")] == (calls - 1) * 4096


@pytest.mark.parametrize("frame", [timing._loop(), timing._row(8)])
def test_without_rounds_nothing_is_asked(frame):
    record = (ctypes.c_int64 * NR_WORDS)()
    with KernelProgram(frame + code_of("linear"), "rounds") as program:
        assert program.run(record) == 0
    assert list(record) == [0] * NR_WORDS


def test_a_program_that_the_verifier_takes_in_no_way_has_no_figure(monkeypatch):
    monkeypatch.setattr(timing, "CALLS", ())
    monkeypatch.setattr(timing, "_loop", lambda: timing._one(0xFF))
    assert timing.time_call(code_of("linear"), SHAPE) is None
