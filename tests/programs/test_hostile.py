# SPDX-License-Identifier: MIT
"""Every hostile program is refused by the stage that must refuse it, in its words."""

import contextlib
import ctypes
import sys
from collections import Counter

import pytest

from iomapd.abi.program import BEGIN, NR_WORDS
from iomapd.errors import ProgramError
from iomapd.jit.admission.bounded import step_bound
from iomapd.jit.admission.interpret import interpret
from iomapd.jit.admission.parse import parse_program
from iomapd.jit.admission.prove import prove
from iomapd.jit.admission.verifier import verify
from iomapd.jit.bpf.kernel import why_not
from iomapd.native.calls import ENTRY
from tests.jit.bpf.conftest import linked_of
from tests.mounted.harness import SOAK
from tests.programs.hostile import CASES

FILE = "programs/hostile.py"
BY_NAME = {case.name: case for case in CASES}


def cases(stage):
    return [case.name for case in CASES if case.stage == stage]


def refusal(case, examine):
    with pytest.raises(ProgramError) as caught:
        examine()
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 500
    place, _, sentence = text.partition(": ")
    assert place == f"{FILE}:{case.line}"
    return sentence


def test_the_corpus_has_no_name_twice():
    assert len(BY_NAME) == len(CASES) >= 60


@pytest.mark.parametrize("name", cases("parse"))
def test_parse_refuses(name):
    case = BY_NAME[name]
    sentence = refusal(case, lambda: parse_program("hostile", case.text, FILE))
    assert case.words in sentence


@pytest.mark.parametrize("name", cases("bounded"))
def test_bounded_refuses(name):
    case = BY_NAME[name]
    program = parse_program("hostile", case.text, FILE)
    assert case.words in refusal(case, lambda: step_bound(program))


@pytest.mark.skipif(not SOAK, reason="the verifier takes seconds to give up: IOMAPD_SOAK=1")
@pytest.mark.skipif(bool(why_not()), reason=f"the verifier cannot be asked: {why_not()}")
@pytest.mark.parametrize("name", cases("verifier"))
def test_the_verifier_refuses(name):
    case = BY_NAME[name]
    program = parse_program("hostile", case.text, FILE)
    step_bound(program)
    linked = linked_of(program)
    assert case.words in refusal(case, lambda: verify(program, linked))


@pytest.mark.parametrize("name", cases("prove"))
def test_prove_refuses(name):
    # The program runs in the interpreter here; the proof that it meets is the compiled one.
    case = BY_NAME[name]
    program = parse_program("hostile", case.text, FILE)
    bound = step_bound(program)
    run = interpret(program, BEGIN)

    def called(address):
        return run((ctypes.c_int64 * NR_WORDS).from_address(address))

    entry = ENTRY(called)
    address = ctypes.cast(entry, ctypes.c_void_p).value
    assert case.words in refusal(case, lambda: prove(program, address, bound.steps, None))


def test_no_text_of_the_corpus_is_executed():
    seen = Counter()
    watching = True

    def watch(event, args):
        # An audit hook stays for the life of the process, so it has a switch.
        if watching and event in ("exec", "import", "open", "os.system", "subprocess.Popen"):
            # Python looks for the source of a mistake to quote it, under a name that is no file.
            seen[event] += args[0] != "<program>"

    sys.addaudithook(watch)
    for case in CASES:
        with contextlib.suppress(ProgramError):
            step_bound(parse_program("hostile", case.text, FILE))
    watching = False
    assert not seen.total()
