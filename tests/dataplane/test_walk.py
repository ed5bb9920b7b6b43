# SPDX-License-Identifier: MIT
"""A program compiled into the walk gives the answers that it gives behind a pointer."""

import random
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iomapd.abi.shipped import shipped_dir
from iomapd.dataplane.engine import MapEngine, encode
from iomapd.dataplane.find import map_range
from iomapd.errors import BadMappingError
from iomapd.jit import machine
from iomapd.jit.admission.parse import parse_program
from iomapd.jit.admission.walks import WALK
from iomapd.mapping.extent import Extent, Strip
from iomapd.mapping.walk import BAD_ADDR, BAD_LENGTH, BAD_STRIP, FELL_BACK, PIECE_SIZE
from tests.dataplane.test_find import ADDRESSES
from tests.dataplane.test_pieces import extents

UNIT = 16384
PROGRAMS = sorted(path.stem for path in shipped_dir("programs").glob("*.py"))
# What they need to be told; p0 and p1.
PARAMS = {"ceph": (65536,), "interleave": (65536,)}
SAYS = """\
from iomapd.abi import HANDLED

PARAMS = ("said_strip", "said_addr", "said_length", "status")


def iomap_begin(ctx):
    ctx.strip = ctx.said_strip
    ctx.addr = ctx.said_addr
    ctx.length = ctx.said_length
    return ctx.status
"""
COMPILED = MapEngine()
_alive = []


def compiled(text):
    """Addresses of a program and of its walk; nobody has asked whether it lies."""
    from iomapd.jit.admission.compile import compile_program

    _alive.append(machine.load_object(compile_program(parse_program("p", text, "p.py")).object))
    return tuple(_alive[-1].get_function_address(name) for name in ("iomap_begin", WALK))


@pytest.fixture(scope="module", params=PROGRAMS)
def shipped(request):
    text = (shipped_dir("programs") / f"{request.param}.py").read_text()
    return request.param, *compiled(text)


@pytest.fixture(scope="module")
def liar():
    return compiled(SAYS)


def found(engine, words, pos, end, limit=500):
    """What *engine* finds, or what it says is wrong."""
    try:
        return engine.pieces(words, pos, end, limit)
    except BadMappingError as error:
        return str(error)


def test_every_shipped_program_walks_as_it_answers(shipped):
    name, address, walk = shipped
    if name != "ceph":
        assert walk
    dice = random.Random(name)
    for _ in range(40):
        strips = tuple(Strip(m + 1, m * UNIT) for m in range(dice.choice((2, 3, 4, 7))))
        length = UNIT * dice.choice((4, 16, 64))
        extent = Extent(1, UNIT, length * len(strips), 1, UNIT, 5, length, length, strips)
        pos = dice.randrange(extent.offset, extent.end)
        end = dice.randrange(pos, extent.end) + 1
        how = {"params": PARAMS.get(name, ()), "program": address, "name": name}
        answers = [
            found(engine, encode(extent, walk=own, **how), pos, end)
            for engine in (MapEngine(interpreted=True), COMPILED)
            for own in (0, walk)
        ]
        assert all(answer == answers[0] for answer in answers)


@given(
    extent=extents().filter(lambda e: len(e.strips) > 1),
    strip=st.integers(-2, 6),
    addr=ADDRESSES,
    length=ADDRESSES,
    status=st.sampled_from((1, 1, 1, 0, 2, -1)),
    data=st.data(),
)
def test_whatever_is_answered_in_a_walk_it_reaches_only_its_own_strips(
    liar, extent, strip, addr, length, status, data
):
    address, walk = liar
    how = {"params": (strip, addr, length, status), "program": address, "name": "liar"}
    pos = data.draw(st.integers(extent.offset, extent.end - 1))
    limit = data.draw(st.integers(1, 3))
    answer = found(COMPILED, encode(extent, walk=walk, **how), pos, extent.end, limit)
    assert answer == found(COMPILED, encode(extent, **how), pos, extent.end, limit)
    if isinstance(answer, str):
        return
    home = extent.strips[strip]
    at = pos
    for member, place, start, end in answer:
        assert member == home.member
        assert start == at < end <= extent.end
        assert home.addr <= place < place + end - start <= home.addr + extent.strip_alloc
        at = end


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ((0, 0, UNIT, 2), FELL_BACK),
        ((2, 0, UNIT, 1), BAD_STRIP),
        ((0, 4 * UNIT, UNIT, 1), BAD_ADDR),
        ((0, 0, 0, 1), BAD_LENGTH),
    ],
)
def test_a_bad_answer_costs_its_request_and_says_why(liar, said, why):
    address, walk = liar
    strips = (Strip(1, 0), Strip(2, 0))
    extent = Extent(1, 0, 8 * UNIT, 1, UNIT, 5, 4 * UNIT, 4 * UNIT, strips)
    words = encode(extent, said, address, "liar", walk)
    out = array("q", bytes(PIECE_SIZE))
    assert map_range(words.addr, 0, 8 * UNIT, 0, out.buffer_info()[0], 1) == why


def test_a_long_program_has_no_walk_and_is_called():
    text = (shipped_dir("programs") / "ceph.py").read_text()
    address, walk = compiled(text)
    assert address
    assert walk == 0


def test_an_extent_of_one_strip_asks_no_walk(liar):
    extent = Extent(1, 0, 8 * UNIT, 1, UNIT, 5, 8 * UNIT, 8 * UNIT, (Strip(3, 4096),))
    words = encode(extent, (9, 9, 9, 9), liar[0], "liar", liar[1])
    assert MapEngine().pieces(words, 5, 7 * UNIT) == [(3, 4101, 5, 7 * UNIT)]
