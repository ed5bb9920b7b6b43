# SPDX-License-Identifier: MIT
"""The model and a driver side by side: asking both, and comparing what both show.

Places are numbers, taken modulo what there is: most operations meet something, and a
shortened run keeps its meaning.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import random
import stat
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize

from tests.model.content import BLOCK
from tests.model.driver import LAYOUT_XATTR, Plan
from tests.model.filesystem import FileSystem, Node, Path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.model.driver import Driver, Seen

UNITS = (4096, 8192, 65536)
HUGE = 1 << 40  # where sparse files reach
# What is looked at of every file: all of a small one, the far end of a sparse one.
WINDOWS = ((0, 120 * BLOCK), (HUGE - BLOCK, HUGE + 50 * BLOCK))

numbers = st.integers(0, 63)
names = st.sampled_from((b"a", b"b", b"c", b"\xff raw"))
plans = st.builds(
    Plan,
    unit=st.sampled_from(UNITS),
    data=st.lists(st.sampled_from((16, 40, 256)), min_size=1, max_size=4).map(
        lambda blocks: tuple(n * BLOCK for n in blocks)
    ),
)


class SideBySide(RuleBasedStateMachine):
    """Rules come by inheritance.

    Attributes:
        make: makes a driver for a plan.
        handles: open files: the driver's handle, the model's node.
    """

    make: Callable[[Plan], Driver]

    def __init__(self) -> None:
        super().__init__()
        self.driver: Driver | None = None
        self.handles: list[tuple[int, Node]] = []
        self._counter = itertools.count(1)

    @initialize(plan=plans)
    def begin(self, plan: Plan) -> None:
        """An empty volume."""
        self.driver = type(self).make(plan)
        plan = self.driver.plan  # what is mounted already stays as it is
        self.members = len(plan.data)
        self.model = FileSystem((plan.unit, 0), self.driver.owner)

    # --- asking both --------------------------------------------------------------------

    def both(self, model: Callable[[], Any], real: Callable[[], Any]) -> Any:
        """What the driver answers, when the model answers alike; None for an error."""
        wanted, found = outcome(model), outcome(real)
        assert wanted[0] == found[0], f"answered {found[0]}, not {wanted[0]}"
        return found[1]

    def bytes(self, length: int) -> bytes:
        """Bytes that were nowhere before, none of them zero."""
        data = random.Random(next(self._counter)).randbytes(length)
        return data.replace(b"\0", b"\1")

    # --- places -------------------------------------------------------------------------

    def directory(self, number: int) -> Path:
        """A directory of at most three levels."""
        paths = [(), *(path for path in self.model.paths(stat.S_IFDIR) if len(path) < 3)]
        return paths[number % len(paths)]

    def some(self, number: int, kind: int = 0) -> Path:
        """Something that is there, of one kind if there is any; else a name that is not."""
        paths = self.model.paths(kind) or self.model.paths() or [(b"nothing",)]
        return paths[number % len(paths)]

    def node(self, path: Path) -> Node | None:
        """The node at *path* if there is one."""
        return self.model.find(path) if path in self.model.paths() else None

    @contextlib.contextmanager
    def some_file(self, number: int) -> Iterator[tuple[int, Node]]:
        """A file with a handle: an open one, or one that is opened for this; made if none is."""
        paths = self.model.paths(stat.S_IFREG)
        if not paths and not self.handles:
            path = (b"made",)
            self.handles.append(
                (self.driver.make_file(path, 0o600), self.model.make(path, stat.S_IFREG, 0o600))
            )
        choice = number % (len(self.handles) + len(paths))
        if choice < len(self.handles):
            yield self.handles[choice]
            return
        path = paths[choice - len(self.handles)]
        handle = self.driver.open(path)
        try:
            yield handle, self.model.find(path)
        finally:
            self.driver.close(handle)

    # --- comparing ------------------------------------------------------------------------

    def compare_data(self, handle: int, node: Node) -> None:
        """Size and data of a file."""
        now, size = node.data.now, self.driver.size(handle)
        assert size == now.size, f"size {size}, not {now.size}"
        for start, end in WINDOWS:
            if start < size:
                found, wanted = (
                    self.driver.read(handle, start, end - start),
                    now.read(start, end - start),
                )
                assert found == wanted, difference(found, wanted, start)

    def compare(self) -> None:
        """All that can be seen while nothing is open; then the model is what was found."""
        inodes: dict[int, Node] = {}
        owned: dict[int, int] = {}
        for path, node in list(self.model.walk()):
            seen = self.driver.see(path)
            for what, wanted, found in self._differences(path, node, seen):
                assert found == wanted, f"{what} of {path}: {found!r}, not {wanted!r}"
            assert inodes.setdefault(seen.ino, node) is node, f"{path} has another's inode number"
            if node.kind == stat.S_IFREG:
                self._adopt(path, node, seen.size)
                owned[seen.ino] = seen.owned
                self._check_space(path, node, seen.owned)
        used, _ = self.driver.space()
        assert used == sum(owned.values()), f"{used} bytes in use, files own {owned}"

    def _differences(self, path: Path, node: Node, seen: Seen) -> Iterator[tuple[str, Any, Any]]:
        yield "kind", node.kind, seen.kind
        yield "mode", node.mode, seen.mode
        yield "links", node.links, seen.links
        if path:  # the root's owner is whoever made the volume
            yield "owner", node.owner, seen.owner
        if node.mtime_ns is not None and not node.is_dir:
            yield "mtime", node.mtime_ns, seen.mtime_ns
        if node.is_dir:
            yield "names", set(node.entries), self.driver.names(path)
            words = self.driver.xattr(path, LAYOUT_XATTR).split()
            yield "layout", [b"unit=%d" % node.layout[0], b"width=%d" % node.layout[1]], words[:2]
        if node.kind == stat.S_IFLNK:
            yield "target", node.target, self.driver.target(path)
        else:
            found = {name: self.driver.xattr(path, name) for name in self.driver.xattr_names(path)}
            yield "xattrs", node.xattrs, found

    def _adopt(self, path: Path, node: Node, size: int) -> None:
        handle = self.driver.open(path)
        try:
            node.data.adopt(size, lambda pos, n: self.driver.read(handle, pos, n), path)
            self.compare_data(handle, node)
        finally:
            self.driver.close(handle)

    def _check_space(self, path: Path, node: Node, owned: int) -> None:
        """A closed file owns whole rows up to where it was ever written, and no more."""
        row = node.layout[0] * (node.layout[1] or self.members)
        most = -(-node.data.reach // row) * row
        assert owned <= most, f"{path} owns {owned} bytes; {most} would do"


def outcome(action: Callable[[], Any]) -> tuple[str, Any]:
    """("ok", value), or the errno's name and None."""
    try:
        return "ok", action()
    except OSError as error:
        return errno.errorcode[error.errno], None


def difference(found: bytes, wanted: bytes, pos: int) -> str:
    """Where two byte strings that should be equal part."""
    pairs = enumerate(zip(found, wanted, strict=False))
    at = next((at for at, (a, b) in pairs if a != b), min(len(found), len(wanted)))
    return (
        f"at {pos + at}: {found[at : at + 12].hex()}, not {wanted[at : at + 12].hex()}; "
        f"{len(found)} bytes, not {len(wanted)}"
    )
