# SPDX-License-Identifier: MIT
"""What the verifier says is put into the user's words, with the line it is about."""

import pytest

from iomapd.errors import ProgramError
from iomapd.jit.admission.verifier import OldKernelError, Verification, _load
from iomapd.jit.bpf.elf import Code, Line
from iomapd.jit.bpf.kernel import KernelProgram, VerifierError
from iomapd.jit.bpf.words import last_words, refusal_of
from tests.jit.bpf.assembler import EXIT, MOVE_0, assemble
from tests.jit.bpf.conftest import parsed

LINES = (Line(0, 6, "def"), Line(2, 9, "loop"), Line(4, 12, "return"))
FIGURES = (
    "\nverification time 7 usec\nstack depth 0\nprocessed 9 insns (limit 1000000) max_states\n"
)


@pytest.mark.parametrize(
    ("log", "line", "words"),
    [
        ("0: (79) r2 = *(u64 *)(r1 +0)\n3: (05) goto pc-2\nBPF program is too large. Processed "
         "1000001 insn", 9, "at most 1000000 instructions in all"),
        ("1: (b7) r0 = 0\nThe sequence of 8193 jumps is too complex.", 6, "at most 8192 branches"),
        ("2: (05) goto pc-1\ninfinite loop detected at insn 2", 9, "does not see the loop end"),
        ("4: (95) exit\ncombined stack size of 1 calls is 544.", 12, "512 bytes of stack"),
        ("unknown opcode 06", None, "older than the instructions"),
        ("5: (95) exit\nsomething new", 12, "the kernel's verifier refuses the program"),
    ],
)  # fmt: skip
def test_rule_and_line(log, line, words):
    found, sentence = refusal_of(VerifierError(22, log + FIGURES), Code("iomap_begin", b"", LINES))
    assert found == line
    assert words in sentence
    assert "\n" not in sentence
    assert log.splitlines()[-1] in sentence


def test_last_words_are_neither_listing_nor_figures():
    log = (
        "func#0 @0\n; x = 1 @ f.py:3\n0: (b7) r0 = 0   ; R0=0\nfrom 3 to 5: R0=0\nR1 is bad"
        + FIGURES
    )
    assert last_words(log) == "R1 is bad"


@pytest.mark.usefixtures("kernel")
def test_a_real_refusal_names_the_line():
    code = assemble((0x79, 2, 1, 0, 0), MOVE_0, (0x55, 2, 0, -1, 0), EXIT)
    with pytest.raises(VerifierError) as caught:
        KernelProgram(code, "endless")
    line, sentence = refusal_of(caught.value, Code("iomap_begin", code, LINES))
    assert line == 9
    assert "does not see the loop end (it says: infinite loop detected at insn 2)" in sentence


@pytest.mark.usefixtures("kernel")
def test_a_refusal_is_one_sentence_with_file_and_line():
    program = parsed("raid0")
    code = Code("iomap_begin", assemble((0x61, 0, 1, 3, 0), EXIT), (Line(0, 15, ""),))
    with pytest.raises(ProgramError) as caught:
        _load(Verification(b"", "v4", {"iomap_begin": code}), program)
    assert str(caught.value).startswith(
        "programs/raid0.py:15: verifier: the kernel's verifier refuses the program (it says: "
    )


@pytest.mark.usefixtures("kernel")
def test_an_instruction_that_the_kernel_does_not_know_is_told_apart():
    code = Code("iomap_begin", assemble((0x8F, 2, 2, 0, 0), EXIT), ())
    with pytest.raises(OldKernelError, match="older than the instructions"):
        _load(Verification(b"", "v4", {"iomap_begin": code}), parsed("raid0"))
