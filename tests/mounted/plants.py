# SPDX-License-Identifier: MIT
"""A server with a rule of the data plane left out: ``python -m tests.mounted.plants PLANT FD``.

Its lanes run in the interpreter, in threads that are switched ten thousand times a second, and
its members are slow at random: a gap between two steps that compiled lanes pass in
nanoseconds is wide open here.  PLANT says which rule is missing; "nothing" leaves
all of them in place, and such a server makes no mistake.
"""

from __future__ import annotations

import random
import sys
import threading
from types import SimpleNamespace
from typing import Any

from iomapd.cache import compiled
from iomapd.control.publish import Publisher
from iomapd.control.room import Room
from iomapd.dataplane import serve, transfer
from iomapd.dataplane.request import EXTENTS, MESSAGE
from iomapd.dataplane.serve import mark_written
from iomapd.dataplane.transfer import write_pieces
from iomapd.jit.sources import CompileError
from iomapd.native.memory import load32, load64
from iomapd.transport import lanes

SWITCH_S = 1e-4
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


def slow_members(name: str, chance: float, longest: float) -> None:
    """Let a call of lanes to members wait now and then before it begins; seconds."""
    original, never = getattr(transfer, name), threading.Event()

    def wait(*args: int) -> int:
        if random.random() < chance:
            never.wait(random.uniform(0, longest))
        return int(original(*args))

    setattr(transfer, name, wait)


def slow_truncates(longest: float) -> None:
    """Let truncates take their time when no lane works on the inode; seconds."""
    original, never = Room.cut, threading.Event()

    def cut(*args: Any) -> Any:
        never.wait(random.uniform(0, longest))
        return original(*args)

    Room.cut = cut  # type: ignore[method-assign]


def main() -> int:
    """Change what is to be changed, and be a server."""
    plant, report = sys.argv[1:]
    PLANTS[plant](SimpleNamespace(setattr=setattr))
    interpret()
    slow_members("pwritev", 0.25, 0.03)
    slow_members("preadv", 0.25, 0.05)
    slow_truncates(0.01)
    from iomapd.server.__main__ import main as serve_mount

    sys.argv[1:] = [report]
    return serve_mount()


if __name__ == "__main__":
    sys.exit(main())
