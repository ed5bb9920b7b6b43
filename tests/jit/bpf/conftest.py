# SPDX-License-Identifier: MIT
"""Programs made into BPF once, and the kernel if it may be asked."""

import functools

import pytest

from iomapd.abi.shipped import shipped_dir
from iomapd.jit.admission.parse import parse_program
from iomapd.jit.bpf.kernel import why_not


def parsed(name, text=None):
    """A shipped program, or *text* under that name."""
    text = text or (shipped_dir("programs") / f"{name}.py").read_text()
    return parse_program(name, text, f"programs/{name}.py")


def linked_of(program):
    """LLVM IR of a parsed program as numba leaves it in the child: without vectors."""
    import numba

    from iomapd.jit.admission.compile import compile_program

    before = numba.config.LOOP_VECTORIZE, numba.config.SLP_VECTORIZE
    numba.config.LOOP_VECTORIZE = numba.config.SLP_VECTORIZE = 0
    try:
        return compile_program(program).linked
    finally:
        numba.config.LOOP_VECTORIZE, numba.config.SLP_VECTORIZE = before


@functools.cache
def linked(name, text=None):
    """LLVM IR of a shipped program, or of *text*; compiled once per session."""
    return linked_of(parsed(name, text))


@functools.cache
def made(name, text=None, version="v4"):
    """The ELF object of a program."""
    from iomapd.jit.bpf.retarget import bpf_object

    return bpf_object(parsed(name, text), linked(name, text), version)


@pytest.fixture(scope="session")
def kernel():
    """Skip where bpf(2) is not to be had, with the reason that users read."""
    if reason := why_not():
        pytest.skip(reason)
