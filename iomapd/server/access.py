# SPDX-License-Identifier: MIT
"""How members are accessed: one way per member, for lanes and control plane alike.

    mapped      reads come out of a shared mapping of the data area; writes are pwritev, or of
                members in memory, where something is written again, copies into the mapping
    buffered    preadv and pwritev through the page cache
    direct      the same with O_DIRECT: whole blocks, no page cache
    auto        mapped where the bytes are in memory anyway, else buffered

The first two share one page cache, so they agree at every instant; direct has none, so it is
for all members or for none.

A member in memory is mapped whole: its pages are there.  On a device, a page that is not
cached would be read one fault at a time, and page tables (8 bytes for each 4 KiB looked at)
would grow with the device.  So `auto` leaves devices alone, and `mapped` maps windows there: the
beginnings of the data areas, which are given out first, `WINDOWS` in all.  Reads beyond a window
are preadv's.

Nobody but the kernel works in a mapping: a member that shrank is EFAULT there, not SIGBUS.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from iomapd.abi.units import BLOCK
from iomapd.control.core import MEMBER_BITS
from iomapd.control.member_io import MODE_NAMES
from iomapd.dataplane.plane import BUFFERED, DIRECT, MAPPED, MemberAccess
from iomapd.errors import MemberError
from iomapd.geometry.ranges import round_down
from iomapd.geometry.sizes import format_size
from iomapd.native.memory import store64
from iomapd.native.region import Region
from iomapd.native.syscalls import IOV_SIZE, process_vm_readv
from iomapd.native.view import FileView

if TYPE_CHECKING:
    from collections.abc import Iterable

    from iomapd.volume.member import Member

WINDOWS: Final = 64 << 30
"""Bytes of devices that a mount maps at most, in all: 128 MiB of page tables."""


@dataclass(slots=True)
class Access:
    """How the members of one mount are accessed; keep it until nobody does any more.

    Attributes:
        members: what lanes need to know, in index order.
        reasons: why, a sentence for each member id.
        can_block: some member may have to wait for a device.
        copies: every member is mapped, to be written to there.
    """

    members: list[MemberAccess] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)
    can_block: bool = False
    copies: bool = False
    _views: list[FileView] = field(default_factory=list)

    @property
    def modes(self) -> dict[int, int]:
        """How each member is accessed, by id."""
        return {member.id: member.mode for member in self.members}

    def sentences(self) -> list[str]:
        """Return what was chosen, one sentence for each way and reason."""
        alike: dict[tuple[str, str], list[int]] = {}
        for index, access in enumerate(self.members):
            key = MODE_NAMES[access.mode], self.reasons[access.id]
            alike.setdefault(key, []).append(index)
        return [
            f"{_numbered(indexes)}: {mode}: {reason}" for (mode, reason), indexes in alike.items()
        ]

    def close(self) -> None:
        """Unmap what is mapped, after the last lane has ended; may be called again."""
        for view in self._views:
            view.close()
        self._views.clear()


def choose(members: Iterable[Member], wanted: str = "auto") -> Access:
    """Choose how *members* are accessed, and prepare it.

    With ``direct`` the members' own descriptors become O_DIRECT: they hold the exclusion, which
    must last until the last I/O is over.

    Args:
        members: open, in index order; they outlive the result.
        wanted: auto, mapped, buffered or direct.

    Raises:
        MemberError: a member cannot be accessed in the way that was asked for.
    """
    members = list(members)
    in_memory = all(member.memory_backed for member in members)
    access = Access(can_block=not in_memory)
    copies = in_memory and copies_itself() and all(is_writable(member.fd) for member in members)
    try:
        for member in members:
            mode, view, reason = _choose(member, wanted, _window(members), copies)
            if view is not None:
                access._views.append(view)
            access.reasons[member.id] = reason
            access.members.append(_describe(member, mode, view))
    except BaseException:
        access.close()
        raise
    access.copies = copies and set(access.modes.values()) == {MAPPED}
    return access


def copies_itself() -> bool:
    """Tell whether this process may copy its own memory by a system call; filters forbid some."""
    page = Region(BLOCK)
    parts = page.addr
    for part, (addr, size) in enumerate(((page.addr + 64, 8), (page.addr + 128, 8))):
        store64(parts + part * IOV_SIZE, addr)
        store64(parts + part * IOV_SIZE + 8, size)
    return process_vm_readv(os.getpid(), parts, 1, parts + IOV_SIZE, 1) == 8


def is_writable(fd: int) -> bool:
    """Tell whether *fd* is open for writing too."""
    return fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR


def _choose(
    member: Member, wanted: str, window: int, copies: bool
) -> tuple[int, FileView | None, str]:
    """Return ``(mode, mapping, reason)`` for one member."""
    if wanted == "direct":
        _bypass_cache(member)
        return DIRECT, None, "asked for; O_DIRECT, the members' page cache is not used"
    if wanted == "buffered":
        return BUFFERED, None, "asked for; through the page cache"
    if wanted == "auto" and not member.memory_backed:
        return BUFFERED, None, "on a device; through the page cache"
    size = member.data_size if member.memory_backed else min(member.data_size, window)
    try:
        view = FileView(member.fd, member.data_offset, size, writable=copies)
    except OSError as exc:
        if wanted == "auto":
            return BUFFERED, None, f"in memory, but it cannot be mapped ({exc.strerror})"
        raise MemberError(
            f"{member.path}: {format_size(size)} cannot be mapped: {exc.strerror}; "
            "mount with -o io=buffered"
        ) from exc
    if copies:
        return MAPPED, view, "in memory; reads copy straight out of it, writes into it"
    if member.memory_backed:
        return MAPPED, view, "in memory; reads copy straight out of it"
    if size == member.data_size:
        return MAPPED, view, "asked for; reads copy straight out of the page cache"
    return MAPPED, view, f"asked for; the first {format_size(size)} mapped, preadv beyond"


def _window(members: list[Member]) -> int:
    """Return the share of `WINDOWS` of each member on a device, bytes."""
    on_devices = sum(not member.memory_backed for member in members)
    return round_down(WINDOWS // max(on_devices, 1), BLOCK)


def _bypass_cache(member: Member) -> None:
    """Open *member* with O_DIRECT from here on, and see that it takes whole blocks.

    Pages cached before are no trouble: each direct read or write deals with them first.
    """
    flags = fcntl.fcntl(member.fd, fcntl.F_GETFL)
    try:
        fcntl.fcntl(member.fd, fcntl.F_SETFL, flags | os.O_DIRECT)
        # Some take the flag only; and what is larger than a block shows at the second one.
        with mmap.mmap(-1, BLOCK) as page:
            os.preadv(member.fd, [page], member.data_offset + BLOCK)
    except OSError as exc:
        if exc.errno != errno.EINVAL:
            return  # of the medium, where we happened to look
        raise MemberError(
            f"{member.path}: takes no O_DIRECT in blocks of {BLOCK} bytes ({exc.strerror}); "
            "mount with -o io=buffered"
        ) from exc


def _describe(member: Member, mode: int, view: FileView | None) -> MemberAccess:
    return MemberAccess(
        id=member.id,
        fd=member.fd,
        data_offset=member.data_offset,
        data_size=member.data_size,
        bit=min(member.index, MEMBER_BITS - 1),
        mode=mode,
        map_addr=view.addr if view else 0,
        map_size=view.size if view else 0,
    )


def _numbered(indexes: list[int]) -> str:
    """Return member indexes in words, runs as ``0-3``."""
    if len(indexes) == 1:
        return f"member {indexes[0]}"
    if indexes == list(range(indexes[0], indexes[-1] + 1)):
        return f"members {indexes[0]}-{indexes[-1]}"
    return f"members {', '.join(map(str, indexes))}"
