# SPDX-License-Identifier: MIT
"""A server with a rule of the data plane left out: ``python -m tests.mounted.plants PLANT FD``.

Its lanes run in the interpreter, in threads that are switched ten thousand times a second, and
its members are slow at random, and so is who holds an inode: a gap between two steps that compiled
lanes pass in nanoseconds is wide open here.  PLANT says which rule is missing; "nothing" leaves
all of them in place, and such a server makes no mistake.
"""

from __future__ import annotations

import random
import sys
import threading
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import trio

from iomapd.abi.fuse import IN_NODEID
from iomapd.cache import compiled
from iomapd.control.publish import Publisher
from iomapd.control.slots import Gate
from iomapd.dataplane import runs, serve
from iomapd.dataplane.request import EXTENTS, MESSAGE
from iomapd.dataplane.serve import mark_written
from iomapd.dataplane.transfer import write_pieces
from iomapd.jit.sources import CompileError
from iomapd.native.memory import load32, load64
from iomapd.transport import lanes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from iomapd.cache.inode import Inode

SWITCH_S = 1e-4
SLOW_CHANCE = 0.25
# Rarely a call outlasts a truncate, a durability point and what takes the space: harm needs that.
# More often, and holders would wait for such calls instead of making room for harm.
RARE_CHANCE, RARE_FACTOR = 0.006, 20
RESERVED = 120  # a word of an entry that is always zero
IO_OFFSET, IO_SIZE = 48, 56


# -- rules left out


def show_nothing(slot: int, ino: int) -> None:
    """A lane works on an inode and no slot says so."""


def mark_before_io(plane: int, request: int, stats: int) -> int:
    """Blocks count as written before they are."""
    message = load64(request + MESSAGE)
    pos = load64(message + IO_OFFSET)
    mark_written(load64(request + EXTENTS), pos, pos + load32(message + IO_SIZE))
    return write_pieces(plane, request, stats)


def without_slots(patch: Any) -> None:
    """Leave out: the slot shows the inode until its last member I/O is over."""
    patch.setattr(serve, "show", show_nothing)
    # Else a lane reads memory that was given back, and the server ends before bytes tell.
    patch.setattr(Publisher, "sweep", lambda self: None)


def without_hold(patch: Any) -> None:
    """Leave out: a lane that sees HOLD withdraws."""
    patch.setattr(serve, "HOLD", RESERVED)


def without_order(patch: Any) -> None:
    """Leave out: member I/O, then marks."""
    patch.setattr(serve, "write_pieces", mark_before_io)


PLANTS = {
    "nothing": lambda patch: None,
    "no slots": without_slots,
    "no hold": without_hold,
    "marks first": without_order,
}


# -- how the server runs


def interpret() -> None:
    """Run lanes, and the helpers that share memory with them, in the interpreter."""

    def refuse(*_: object) -> None:
        raise CompileError("a test wants to see every step")

    functions = {function.__name__: function for function in lanes._ENTRIES}
    compiled.load_unit = refuse
    lanes.compile_lanes = lambda: SimpleNamespace(function=functions.__getitem__)
    lanes.are_compiled = lambda: True
    sys.setswitchinterval(SWITCH_S)


def slow_members(name: str, longest: float) -> None:
    """Let a call of lanes to members wait now and then before it begins; seconds."""
    original, never = getattr(runs, name), threading.Event()

    def wait(*args: int) -> int:
        dice = random.random()
        if dice < RARE_CHANCE:
            never.wait(random.uniform(0, RARE_FACTOR * longest))
        elif dice < SLOW_CHANCE:
            never.wait(random.uniform(0, longest))
        return int(original(*args))

    setattr(runs, name, wait)


def slow_holders(longest: float) -> list[int]:
    """Let who holds an inode take its time when no lane works on it any more; seconds.

    Returns:
        The inodes that are held at the moment, and whom no lane may work on.
    """
    original, held = Gate.holding, list[int]()

    @asynccontextmanager
    async def holding(gate: Gate, inode: Inode) -> AsyncIterator[None]:
        async with original(gate, inode):
            held.append(inode.ino)
            await trio.sleep(random.uniform(0, longest))
            held.remove(inode.ino)
            yield

    Gate.holding = holding  # type: ignore[method-assign]
    return held


def late_lanes(name: str, held: list[int], shortest: float, longest: float) -> None:
    """Let a lane sleep that is about to do what it may not: I/O on a *held* inode; seconds.

    When it wakes up the change is over, and the space it has in mind belongs to others.
    """
    original, never = getattr(serve, name), threading.Event()

    def sleep(plane: int, request: int, *args: int) -> int:
        if load64(load64(request + MESSAGE) + IN_NODEID) in held:
            never.wait(random.uniform(shortest, longest))
        return int(original(plane, request, *args))

    setattr(serve, name, sleep)


def main() -> int:
    """Change what is to be changed, and be a server."""
    plant, report = sys.argv[1:]
    PLANTS[plant](SimpleNamespace(setattr=setattr))
    interpret()
    slow_members("pwritev", 0.03)
    slow_members("preadv", 0.05)
    held = slow_holders(0.05)
    for name in ("read_pieces", "write_pieces"):
        late_lanes(name, held, 0.2, 0.8)
    from iomapd.server.__main__ import main as serve_mount

    sys.argv[1:] = [report]
    return serve_mount()


if __name__ == "__main__":
    sys.exit(main())
