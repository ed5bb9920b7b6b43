# SPDX-License-Identifier: MIT
"""bpf(2): what the kernel takes, what it refuses, and why it cannot be asked."""

import ctypes
import errno
import os
import struct

import pytest

from iomapd.abi.program import NR_WORDS
from iomapd.jit.bpf import kernel as module
from iomapd.jit.bpf.kernel import KernelProgram, VerifierError, environment, why_not

pytestmark = pytest.mark.usefixtures("kernel")


def code(*instructions):
    """Assemble (opcode, dst, src, offset, constant)."""
    return b"".join(
        struct.pack("<BBhi", opcode, src << 4 | dst, offset, constant)
        for opcode, dst, src, offset, constant in instructions
    )


EXIT = (0x95, 0, 0, 0, 0)
# pos + 1 goes to word 14; the answer is 7.
ADD_ONE = code(
    (0x79, 2, 1, 0, 0), (0x07, 2, 0, 0, 1), (0x7B, 1, 2, 112, 0), (0xB7, 0, 0, 0, 7), EXIT
)


def nr_fds():
    return len(os.listdir("/proc/self/fd"))


def test_a_program_answers_in_its_record():
    record = (ctypes.c_int64 * NR_WORDS)(41)
    with KernelProgram(ADD_ONE, "add_one") as program:
        assert program.run(record) == 7
    assert record[14] == 42
    assert record[0] == 41


def test_the_verifier_says_what_it_measured():
    with KernelProgram(ADD_ONE, "add_one") as program:
        assert program.verified.processed == 5
        assert program.verified.stack == 0


def test_stack_is_measured():
    spill = code((0x7A, 10, 0, -16, 5), (0xB7, 0, 0, 0, 0), EXIT)
    with KernelProgram(spill, "spill") as program:
        assert program.verified.stack == 16


def test_nothing_is_left_open():
    before = nr_fds()
    with KernelProgram(ADD_ONE, "add_one"):
        assert nr_fds() == before + 1
    with pytest.raises(VerifierError):
        KernelProgram(code(EXIT), "nothing")
    assert why_not() == ""
    assert nr_fds() == before


def test_a_refusal_brings_the_log():
    with pytest.raises(VerifierError) as caught:
        KernelProgram(code(EXIT), "nothing")
    assert caught.value.number == errno.EACCES
    assert "R0 !read_ok" in caught.value.log


def test_a_record_that_is_too_short_is_an_error():
    with KernelProgram(ADD_ONE, "add_one") as program, pytest.raises(OSError, match="TEST_RUN"):
        program.run((ctypes.c_int64 * 4)())


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EPERM, "bpf(2) is not permitted here; it needs CAP_BPF, or root"),
        (errno.ENOSYS, "this kernel was built without bpf(2)"),
        (errno.EINVAL, "has no BPF programs of type syscall; 5.14 has"),
        (errno.ENOMEM, "bpf(2) does not work here: Cannot allocate memory"),
    ],
)
def test_why_the_kernel_cannot_be_asked(monkeypatch, number, words):
    def refuse(*_):
        ctypes.set_errno(number)
        return -1

    monkeypatch.setattr(module, "_bpf", refuse)
    assert words in why_not()
    assert words in environment()


def test_an_unknown_processor_is_a_reason(monkeypatch):
    monkeypatch.setattr(module.platform, "machine", lambda: "vax")
    assert why_not() == "iomapd does not know bpf(2) on vax"
