# SPDX-License-Identifier: MIT
"""What another thread may do between two steps of a request, done exactly there.

Each test names what an application would see if the step behind it were left out.
"""

import contextlib

import pytest

from iomapd.cache import entry as words
from iomapd.cache.marks import mark
from iomapd.dataplane import request as requests
from iomapd.dataplane import serve as serving
from iomapd.native.memory import load64, store64
from tests.dataplane.served import BLOCK, INO, READ, WRITE, Served, striped

EXTENT = striped(0, 4, [1, 2, 3])
DATA = bytes(range(1, 251)) * 400


@pytest.fixture
def world():
    with contextlib.closing(Served({"serve": serving.serve})) as served:
        served.publish((EXTENT, set()))
        yield served


def after_first(monkeypatch, name, wanted, happens):
    """Let *happens* come right behind the first call of *name* in serve.py that is *wanted*."""
    original, pending = getattr(serving, name), [happens]

    def step(*args):
        result = original(*args)
        if pending and wanted(*args):
            pending.pop()()
        return result

    monkeypatch.setattr(serving, name, step)


@pytest.mark.parametrize("opcode", [READ, WRITE])
def test_no_bytes_of_the_inode_that_was_given_the_entry_meanwhile(world, monkeypatch, opcode):
    """The lane found its entry; the inode lost it, another got it, and nobody holds that one."""
    world.put(words.SIZE, EXTENT.length)
    after_first(monkeypatch, "find_entry", lambda *_: True, lambda: world.put(words.INO, INO + 4))
    assert world.ask(world.message(opcode, 0, BLOCK, bytes(BLOCK))) == requests.PARK
    assert load64(world.request + requests.KIND) == requests.MISS
    assert world.is_quiet()
    assert world.bitmaps[0].blocks(world.bitmaps[0].written) == set()


def test_no_zeros_below_a_size_that_a_write_has_just_raised(world, monkeypatch):
    """The lane was shown a hole; space was made there, written, and the size raised."""
    world.publish(holes=[(0, EXTENT.length)])

    def another_writes():
        world.publish((EXTENT, {0}))
        world.fill(EXTENT, 0, DATA[:BLOCK])
        world.put(words.SIZE, BLOCK)

    looks = (world.entry + words.SIZE, world.entry + words.EXTENTS)
    after_first(monkeypatch, "load_acquire", lambda addr: addr in looks, another_writes)
    assert world.read(0, BLOCK) in (b"", DATA[:BLOCK])


def test_no_acknowledged_write_is_hidden_behind_one_that_is_not_through(world):
    """Two write the same block; the first has marked it, and not told the control plane."""
    bitmap = world.bitmaps[0]
    mark(bitmap.written, bitmap.fresh, 0, 1)
    assert world.write(0, bytes(BLOCK)) == ("wrote", BLOCK)
    assert world.get(words.MARKED) == 1


def test_no_acknowledged_write_is_unknown_to_a_killed_servers_successor(world, monkeypatch):
    """Written implies fresh at every instant: who finds a block written adds no mark of its own."""
    bitmap, seen = world.bitmaps[0], []
    original = mark.__globals__["fetch_or"]

    def watched(addr, mask):
        before = original(addr, mask)
        seen.append((load64(bitmap.written), load64(bitmap.fresh)))
        return before

    monkeypatch.setitem(mark.__globals__, "fetch_or", watched)
    assert world.write(0, bytes(BLOCK)) == ("wrote", BLOCK)
    assert seen
    assert all(written & ~fresh == 0 for written, fresh in seen)


def test_blocks_that_the_store_has_are_no_news(world):
    bitmap = world.bitmaps[0]
    world.write(0, bytes(BLOCK))
    store64(bitmap.fresh, 0)  # a durability point
    world.put(words.MARKED, 0)
    assert world.write(0, bytes(BLOCK)) == ("wrote", BLOCK)
    assert (world.get(words.MARKED), load64(bitmap.fresh)) == (0, 0)
