# SPDX-License-Identifier: MIT
"""A proof accepts every bijection and nothing else, interpreted and compiled alike."""

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iomapd.abi.program import CTX_WORDS, NR_WORDS
from iomapd.jit.admission import Geometry, Prover
from iomapd.jit.admission.interpret import interpret
from iomapd.jit.admission.parse import parse_program
from iomapd.native.calls import ENTRY
from tests.jit.admission.sources import RAID0

BLOCK = 4096
POS, COUNT, STRIP, ADDR, LENGTH = map(CTX_WORDS.index, ("pos", "count", "strip", "addr", "length"))


@pytest.fixture(scope="module", params=["interpreted", "compiled"])
def prover(request):
    return Prover(interpreted=request.param == "interpreted")


class Program:
    """A Python function of the record's words, with an address."""

    def __init__(self, function):
        def called(address):
            return function((ctypes.c_int64 * NR_WORDS).from_address(address))

        self._entry = ENTRY(called)
        self.address = ctypes.cast(self._entry, ctypes.c_void_p).value


def table(answers):
    """A program that answers block by block from a list of (status, strip, addr, length)."""

    def begin(words):
        status, words[STRIP], words[ADDR], words[LENGTH] = answers[words[POS] // BLOCK]
        return status

    return Program(begin)


def text(source):
    return Program(interpret(parse_program("made", source, "made.py")))


def prove(prover, program, geometry):
    return prover.prove(program.address, geometry)  # the caller's reference keeps its code


def blocks(*places, length=BLOCK):
    return [(1, strip, addr * BLOCK, length) for strip, addr in places]


@given(st.data())
def test_every_permutation_of_blocks_is_a_proof(prover, data):
    nr_strips, strip_blocks = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 6))
    places = [(strip, addr) for strip in range(nr_strips) for addr in range(strip_blocks)]
    order = data.draw(st.permutations(places))
    geometry = Geometry(BLOCK, nr_strips, strip_blocks * BLOCK)
    proof = prove(prover, table(blocks(*order)), geometry)
    assert proof.ok
    assert proof.blocks == len(places)
    rows = [addr <= index // nr_strips for index, (_, addr) in enumerate(order)]
    assert proof.prefix == all(rows)
    raid0 = sorted(places, key=lambda place: (place[1], place[0]))
    assert proof.raid0 == (order == raid0)


@given(st.data())
def test_a_place_given_twice_is_named_with_both_blocks(prover, data):
    places = [(strip, addr) for strip in range(3) for addr in range(4)]
    order = data.draw(st.permutations(places))
    first = data.draw(st.integers(0, 10))
    second = data.draw(st.integers(first + 1, 11))
    order[second] = order[first]
    proof = prove(prover, table(blocks(*order)), Geometry(BLOCK, 3, 4 * BLOCK))
    assert not proof.ok
    assert proof.sentence.startswith(f"the block at pos {second * BLOCK} goes to ")
    assert f"where the block at pos {first * BLOCK} is already" in proof.sentence
    assert "unit=4096 nr_strips=3 strip_length=16384 seed=0" in proof.sentence


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((0, 0, 0, BLOCK), "is answered with FALLBACK, not HANDLED"),
        ((-7, 0, 0, BLOCK), "is answered with -7, not HANDLED"),
        ((1, -1, 0, BLOCK), "goes to strip -1, which is not in 0..1"),
        ((1, 2, 0, BLOCK), "goes to strip 2, which is not in 0..1"),
        ((1, 2**62, 0, BLOCK), "goes to strip 4611686018427387904"),
        ((1, 0, 1, BLOCK), "goes to address 1, which is not a multiple of 4096"),
        ((1, 0, -BLOCK, BLOCK), "goes to address -4096 of strip 0, which leaves the 8192 bytes"),
        ((1, 0, 2 * BLOCK, BLOCK), "goes to address 8192 of strip 0, which leaves"),
        ((1, 0, 2**63 - BLOCK, BLOCK), "which leaves the 8192 bytes"),
        ((1, 0, 0, 0), "gets length 0, which is not a positive multiple"),
        ((1, 0, 0, -BLOCK), "gets length -4096, which is not a positive multiple"),
        ((1, 0, 0, BLOCK + 1), "gets length 4097, which is not a positive multiple"),
        ((1, 0, 0, 2**63 - BLOCK), "but the extent ends after 16384 bytes"),
    ],
)
def test_each_rule_has_its_words(prover, answer, words):
    places = blocks((0, 0), (1, 0), (0, 1), (1, 1))
    program = table([answer, *places[1:]])
    proof = prove(prover, program, Geometry(BLOCK, 2, 2 * BLOCK))
    assert not proof.ok
    assert proof.sentence.startswith("the block at pos 0 ")
    assert words in proof.sentence


def test_a_longer_answer_must_be_what_the_next_blocks_say(prover):
    places = blocks((0, 0), (0, 1), (1, 0), (1, 1))
    geometry = Geometry(2 * BLOCK, 2, 2 * BLOCK)
    places[0] = (1, 0, 0, 2 * BLOCK)
    assert prove(prover, table(places), geometry).ok
    places[0] = (1, 0, 0, 3 * BLOCK)  # more than the next block says
    proof = prove(prover, table(places), geometry)
    assert "the answer before said otherwise" in proof.sentence
    places = blocks((0, 0), (1, 0), (0, 1), (1, 1))
    places[0] = (1, 0, 0, 2 * BLOCK)  # the next block is elsewhere
    assert not prove(prover, table(places), geometry).ok


def test_the_last_block_may_not_reach_beyond_the_end(prover):
    places = blocks((0, 0), (0, 1))
    places[1] = (1, 0, BLOCK, 2 * BLOCK)
    proof = prove(prover, table(places), Geometry(BLOCK, 1, 2 * BLOCK))
    assert "gets length 8192, but the extent ends after 4096 bytes" in proof.sentence


def test_to_decline_is_to_fall_back_from_the_first_block(prover):
    places = blocks((0, 0), (0, 1))
    geometry = Geometry(BLOCK, 1, 2 * BLOCK)
    assert prove(prover, table([(0, 0, 0, 0), places[1]]), geometry).declined
    assert not prove(prover, table([places[0], (0, 0, 0, 0)]), geometry).declined
    assert not prove(prover, table([(2, 0, 0, 0), places[1]]), geometry).declined


@pytest.mark.parametrize(
    "geometry", [Geometry(BLOCK, 3, 5 * BLOCK), Geometry(3 * BLOCK, 4, 9 * BLOCK)]
)
def test_raid0_is_raid0_and_prefix_and_grows_in_place(prover, geometry):
    program = text(RAID0)
    proof = prove(prover, program, geometry)
    assert (proof.ok, proof.prefix, proof.raid0) == (True, True, True)
    assert prover.grows_in_place(program.address, geometry)


def test_a_map_from_the_end_is_no_prefix_and_does_not_grow_in_place(prover):
    # Mirrored in the file: the first rows lie at the end of the strips.
    source = RAID0.replace(
        "ctx.pos // ctx.unit", "(ctx.strip_length // 4096 * ctx.nr_strips - 1) - ctx.pos // 4096"
    ).replace("within = ctx.pos - unit_index * ctx.unit", "within = 0")
    source = source.replace("ctx.length = min(ctx.unit - within, ctx.count)", "ctx.length = 4096")
    program = text(source)
    geometry = Geometry(BLOCK, 2, 4 * BLOCK)
    proof = prove(prover, program, geometry)
    assert proof.ok
    assert not proof.prefix
    assert not proof.raid0
    assert not prover.grows_in_place(program.address, geometry)


@pytest.mark.parametrize(
    "values",
    [(0, 1, BLOCK), (BLOCK, 0, BLOCK), (BLOCK, 1, 0), (100, 1, BLOCK), (BLOCK, 1, 100),
     (BLOCK, 2, 2**62), (BLOCK, 1, BLOCK, 0, (0,) * 9)],
)  # fmt: skip
def test_what_is_no_geometry_is_refused(values):
    with pytest.raises(ValueError, match="no geometry of an extent"):
        Geometry(*values)
