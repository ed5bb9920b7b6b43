# SPDX-License-Identifier: MIT
"""The bytes of a file as a model keeps them, and which of them a crash may leave.

Content   one state: immutable, sparse, compared block by block
Bytes     a file's states since the last durability point; the last one is what it holds

What a killed server leaves of `Bytes` is what ``docs/durability.md`` promises: all that it had
acknowledged.  What was under way may be there or not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

BLOCK: Final = 4096

# Whether a killed server loses nothing that it acknowledged, data and sizes included.  Off: they
# may be lost since the last point, as after a power cut, but nothing foreign may appear.
ACKNOWLEDGED_DATA_SURVIVES: Final = True


@dataclass(frozen=True, slots=True)
class Content:
    """One state of a file: *size*, and blocks by index, each whole, zeros beyond *size*."""

    size: int = 0
    blocks: Mapping[int, bytes] = field(default_factory=dict)

    def read(self, pos: int, count: int) -> bytes:
        """Up to *count* bytes at *pos*; fewer only at the end of the file."""
        end = min(pos + count, self.size)
        if pos >= end:
            return b""
        first, last = pos // BLOCK, -(-end // BLOCK)
        whole = b"".join(self.blocks.get(index, bytes(BLOCK)) for index in range(first, last))
        return whole[pos - first * BLOCK : end - first * BLOCK]

    def write(self, pos: int, data: bytes) -> Content:
        """The state after writing *data* at *pos*."""
        if not data:
            return self
        end, blocks = pos + len(data), dict(self.blocks)
        first, last = pos // BLOCK, -(-end // BLOCK)
        head = blocks.get(first, bytes(BLOCK))[: pos % BLOCK]
        tail = blocks.get(last - 1, bytes(BLOCK))[end - (last - 1) * BLOCK :]
        whole = head + data + tail
        for at, index in enumerate(range(first, last)):
            blocks[index] = whole[at * BLOCK : (at + 1) * BLOCK]
        return Content(max(self.size, end), blocks)

    def resize(self, size: int) -> Content:
        """The state after truncate(2) to *size*, up or down."""
        last, rest = divmod(size, BLOCK)
        blocks = {index: block for index, block in self.blocks.items() if index * BLOCK < size}
        if rest and last in blocks and size < self.size:
            blocks[last] = blocks[last][:rest].ljust(BLOCK, b"\0")
        return Content(size, blocks)

    @property
    def ends_inside_a_block(self) -> bool:
        """Whether a written block reaches beyond the size: growing has to zero that."""
        return self.size % BLOCK != 0 and self.size // BLOCK in self.blocks


class Bytes:
    """A file's states, oldest first; the first is durable, the last is the present.

    Attributes:
        states: see above; never empty.
        doubtful: states that an operation which was never answered may have made.
        reach: one past the last byte that was ever asked to be written.
    """

    def __init__(self) -> None:
        self.states = [Content()]
        self.doubtful: list[Content] = []
        self.reach = 0

    @property
    def now(self) -> Content:
        """What a reader sees."""
        return self.states[-1]

    # --- what was done --------------------------------------------------------------

    def write(self, pos: int, data: bytes) -> None:
        """*data* was written at *pos*."""
        self.states.append(self.now.write(pos, data))
        self.reach = max(self.reach, pos + len(data))

    def resize(self, size: int) -> None:
        """The file was truncated, up or down."""
        if size < self.now.size:
            self.reach = min(self.reach, size)
        self.states = self._resized(size)

    def _resized(self, size: int) -> list[Content]:
        now = self.now
        if size < now.size:
            return [state.resize(min(state.size, size)) for state in self.states]
        if len(self.states) == 1 and not now.ends_inside_a_block:
            return [now.resize(size)]  # nothing younger hangs on it: there at once
        return [*self.states, now.resize(size)]

    def settle(self) -> None:
        """A durability point covered everything so far."""
        self.states = [self.now]

    # --- what is being done -----------------------------------------------------------

    def try_write(self, pos: int, data: bytes) -> None:
        """A write of *data* at *pos* is about to be asked for."""
        self.doubtful = [self.now.write(pos, data)]
        self.reach = max(self.reach, pos + len(data))

    def try_resize(self, size: int) -> None:
        """A truncate is about to be asked for."""
        self.doubtful = self._resized(size)

    def answered(self) -> None:
        """The operation was answered; what it did has been told otherwise."""
        self.doubtful = []

    # --- after a crash ------------------------------------------------------------------

    def adopt(self, size: int, read: Callable[[int, int], bytes], name: object) -> None:
        """Check what a killed server left of the file, then take it for the present.

        Args:
            size: the size found.
            read: returns *count* bytes found at *pos*.
            name: of the file, for the message.

        Raises:
            AssertionError: a size or a block that no promise allows.
        """
        acknowledged = self.states[-1:] if ACKNOWLEDGED_DATA_SURVIVES else self.states
        allowed = [*acknowledged, *self.doubtful]
        sizes = sorted({state.size for state in allowed})
        assert size in sizes, f"{name}: size {size} was found, one of {sizes} is right"
        found = {}
        for index in places(allowed, size):
            pos, count = index * BLOCK, min(BLOCK, size - index * BLOCK)
            block = read(pos, count)
            right = {state.read(pos, count) for state in allowed if state.size >= pos + count}
            assert block in right, wrong(name, pos, block, right)
            if any(index in state.blocks for state in allowed):
                found[index] = block.ljust(BLOCK, b"\0")
        self.states, self.doubtful = [Content(size, found)], []


def places(states: Iterable[Content], size: int) -> list[int]:
    """Blocks below *size* worth a look: those that some state wrote, and their neighbours."""
    written = {index for state in states for index in state.blocks} | {-(-size // BLOCK) - 1}
    near = {index + step for index in written for step in (-1, 0, 1)}
    return sorted(index for index in near if 0 <= index * BLOCK < size)


def wrong(name: object, pos: int, found: bytes, right: Iterable[bytes]) -> str:
    """What to say of a block that should not be there."""
    wanted = " or ".join(shown(block) for block in list(right)[:4])
    return f"{name}: at {pos} was found {shown(found)}, right is {wanted or 'nothing'}"


def shown(data: bytes) -> str:
    """The first bytes, and how many there are."""
    return f"{data[:12].hex()}... ({len(data)} bytes, {len(data) - data.count(0)} not zero)"
