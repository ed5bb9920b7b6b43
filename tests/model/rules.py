# SPDX-License-Identifier: MIT
"""The rules: names, attributes, data.  Each does the same to the model and to the driver."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.model.content import BLOCK
from tests.model.driver import LAYOUT_XATTR
from tests.model.filesystem import EXCHANGE, NOREPLACE
from tests.model.side_by_side import HUGE, UNITS, SideBySide, names, numbers, outcome

if TYPE_CHECKING:
    from tests.model.filesystem import Node, Path

xattr_names = st.sampled_from((b"user.one", b"user.two"))
anywhere = st.one_of(
    st.integers(0, 80 * BLOCK),
    st.integers(0, 70).map(lambda n: n * BLOCK),
    st.sampled_from((HUGE, HUGE + 7)),
)
lengths = st.one_of(
    st.integers(1, 100), st.integers(1, 30).map(lambda n: n * BLOCK), st.integers(1, 40 * BLOCK)
)


class NameRules(SideBySide):
    """Names and attributes."""

    @rule(where=numbers, name=names, mode=st.sampled_from((0o600, 0o644)), keep=st.booleans())
    def create(self, where: int, name: bytes, mode: int, keep: bool) -> None:
        """open(2) with O_CREAT | O_EXCL; the handle is kept or closed."""
        path = (*self.directory(where), name)
        handle = self.both(
            lambda: self.model.make(path, stat.S_IFREG, mode),
            lambda: self.driver.make_file(path, mode),
        )
        if handle is not None and keep:
            self.handles.append((handle, self.model.find(path)))
        elif handle is not None:
            self.driver.close(handle)

    @rule(where=numbers, name=names)
    def make_directory(self, where: int, name: bytes) -> None:
        """mkdir(2)."""
        path = (*self.directory(where), name)
        self.both(
            lambda: self.model.make(path, stat.S_IFDIR, 0o750),
            lambda: self.driver.make_directory(path, 0o750),
        )

    @rule(where=numbers, name=names, to=st.sampled_from((b"nowhere", b"\xff/raw")))
    def make_symlink(self, where: int, name: bytes, to: bytes) -> None:
        """symlink(2)."""
        path = (*self.directory(where), name)
        self.both(
            lambda: self.model.make(path, stat.S_IFLNK, 0o777, to),
            lambda: self.driver.make_symlink(path, to),
        )

    @rule(what=numbers, where=numbers, name=names)
    def link(self, what: int, where: int, name: bytes) -> None:
        """link(2)."""
        old, new = self.some(what), (*self.directory(where), name)
        self.both(lambda: self.model.link(old, new), lambda: self.driver.link(old, new))

    @rule(what=numbers)
    def unlink(self, what: int) -> None:
        """unlink(2)."""
        path = self.some(what)
        self.both(lambda: self.model.unlink(path), lambda: self.driver.unlink(path))

    @rule(what=numbers)
    def rmdir(self, what: int) -> None:
        """rmdir(2)."""
        path = self.some(what, stat.S_IFDIR)
        self.both(lambda: self.model.rmdir(path), lambda: self.driver.rmdir(path))

    @rule(what=numbers, where=numbers, name=names, flags=st.sampled_from((0, NOREPLACE)))
    def rename(self, what: int, where: int, name: bytes, flags: int) -> None:
        """rename(2) to a name that may be there."""
        self._rename(self.some(what), (*self.directory(where), name), flags)

    @rule(what=numbers, onto=numbers, flags=st.sampled_from((0, 0, EXCHANGE)))
    def replace(self, what: int, onto: int, flags: int) -> None:
        """rename(2) to a name that is there."""
        self._rename(self.some(what, stat.S_IFREG), self.some(onto), flags)

    def _rename(self, old: Path, new: Path, flags: int) -> None:
        self.both(
            lambda: self.model.rename(old, new, flags), lambda: self.driver.rename(old, new, flags)
        )

    @rule(
        what=numbers,
        mode=st.sampled_from((None, 0o700, 0o1755)),
        owner=st.sampled_from((None, (1, 2))),
        mtime_ns=st.none() | st.integers(-(2**60), 2**60),
    )
    def set_attributes(
        self, what: int, mode: int | None, owner: tuple[int, int] | None, mtime_ns: int | None
    ) -> None:
        """chmod(2), lchown(2), utimensat(2)."""
        path = self.some(what)
        if (node := self.node(path)) is None:
            return
        if mode is not None and node.kind != stat.S_IFLNK:
            self.driver.set_mode(path, mode)
            node.mode = mode
        if owner is not None and not self.driver.owner[0]:  # else we may not
            self.driver.set_owner(path, owner)
            node.owner = owner
        if mtime_ns is not None:
            self.driver.set_mtime(path, mtime_ns)
            node.mtime_ns = mtime_ns

    @rule(what=numbers, name=xattr_names, length=st.integers(0, 300), flags=st.integers(0, 2))
    def set_xattr(self, what: int, name: bytes, length: int, flags: int) -> None:
        """setxattr(2)."""
        path, value = self.some(what), self.bytes(length)
        self.both(
            lambda: self.model.set_xattr(path, name, value, flags),
            lambda: self.driver.set_xattr(path, name, value, flags),
        )

    @rule(what=numbers, name=xattr_names)
    def remove_xattr(self, what: int, name: bytes) -> None:
        """removexattr(2)."""
        path = self.some(what)
        self.both(
            lambda: self.model.remove_xattr(path, name),
            lambda: self.driver.remove_xattr(path, name),
        )

    @rule(where=numbers, unit=st.sampled_from(UNITS), width=st.integers(0, 4))
    def set_layout(self, where: int, unit: int, width: int) -> None:
        """Another stripe unit and width for what will be made in a directory."""
        path, width = self.directory(where), width % (self.members + 1)
        text = f"unit={unit} width={width}".encode()
        self.driver.set_xattr(path, LAYOUT_XATTR, text, 0)
        self.model.find(path).layout = (unit, width)


class DataRules(SideBySide):
    """Open files and what is in them."""

    @precondition(lambda self: len(self.handles) < 6)
    @rule(what=numbers)
    def open(self, what: int) -> None:
        """open(2) of a file."""
        path = self.some(what, stat.S_IFREG)
        node = self.node(path)
        if node is not None and node.kind == stat.S_IFREG:
            self.handles.append((self.driver.open(path), node))

    @precondition(lambda self: self.handles)
    @rule(which=numbers)
    def close(self, which: int) -> None:
        """close(2)."""
        handle, _ = self.handles.pop(which % len(self.handles))
        self.driver.close(handle)

    @rule(which=numbers, pos=anywhere, length=lengths, is_synced=st.sampled_from((False, True)))
    def write(self, which: int, pos: int, length: int, is_synced: bool) -> None:
        """pwrite(2) anywhere: over what is there, into a hole, far beyond the end."""
        with self.some_file(which) as (handle, node):
            self.write_both(handle, node, pos, self.bytes(length), is_synced=is_synced)

    @rule(which=numbers, length=lengths, inside=st.integers(0, 5000))
    def extend(self, which: int, length: int, inside: int) -> None:
        """pwrite(2) at the end, or from a little before it on."""
        with self.some_file(which) as (handle, node):
            pos = max(0, node.data.now.size - inside)
            self.write_both(handle, node, pos, self.bytes(length))

    @rule(which=numbers, size=anywhere)
    def truncate(self, which: int, size: int) -> None:
        """ftruncate(2), down or up."""
        with self.some_file(which) as (handle, node):
            self._truncate(handle, node, size)

    @rule(which=numbers, less=st.integers(1, 9000), more=st.integers(1, 9000), by=st.booleans())
    def cut_and_grow(self, which: int, less: int, more: int, by: bool) -> None:
        """ftruncate(2) down, then longer again, by itself or by a write: zeros between."""
        with self.some_file(which) as (handle, node):
            size = max(0, node.data.now.size - less)
            self._truncate(handle, node, size)
            if by:
                self.write_both(handle, node, size + more, self.bytes(10))
            else:
                self._truncate(handle, node, size + more)

    def _truncate(self, handle: int, node: Node, size: int) -> None:
        self.driver.truncate(handle, size)
        node.data.resize(size)
        node.mtime_ns = None
        self.compare_data(handle, node)

    def write_both(
        self, handle: int, node: Node, pos: int, data: bytes, *, is_synced: bool = False
    ) -> None:
        """Write; a short write, or ENOSPC, only when all space is in use."""
        answer, done = outcome(lambda: self.driver.write(handle, pos, data, is_synced=is_synced))
        assert answer in ("ok", "ENOSPC"), f"write answered {answer}"
        done = done or 0
        if done < len(data) and self.driver.is_exact:
            used, total = self.driver.space()
            assert used == total, f"{done} of {len(data)} bytes, and {total - used} are free"
        if done:
            node.data.write(pos, data[:done])
            node.mtime_ns = None
        if is_synced and done == len(data):
            node.data.settle()
        self.compare_data(handle, node)
