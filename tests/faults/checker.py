# SPDX-License-Identifier: MIT
"""Opens a volume as a power cut left it, and looks whether every promise was kept.

    1  open          as a mount does: no flag, no repair
    2  judge         tree, sizes and bytes, by the oracle
    3  fsck          found nothing to repair, before anything was opened for writing
    4  use           files grow over zeros, take writes, space is given out and freed
    5  end           in order; fsck finds nothing, free space is what extents leave
    6  open again    everything is as it was left

How far a check goes is its *depth*: `LOOK` up to 2, `FSCK` up to 3, `USE` to the end.
"""

from __future__ import annotations

import contextlib
import errno
import stat
import traceback
from typing import TYPE_CHECKING

from iomapd.errors import IomapdError
from iomapd.tools.fsck import check_volume
from iomapd.volume.layout_file import load_layout
from tests.faults.plane import create, opened
from tests.faults.promises import Verdict
from tests.mounted import tagged

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.promises import Oracle

USED_FILES = 3
LOOK, FSCK, USE = range(3)
NEWCOMER = 999_999  # file number of what is written after the cut
Contents = dict[int, bytes]


async def check_state(layout: Path, oracle: Oracle, kept: int, depth: int = USE) -> Verdict:
    """Check one state.

    Args:
        layout: its layout file.
        oracle: knows what happened.
        kept: how many of its promises had been made.
        depth: `LOOK`, `FSCK` or `USE`.
    """
    verdict = Verdict(fsck(layout) if depth >= FSCK else [], 1)
    try:
        async with opened(layout) as plane:
            if plane.control.core.read_only:
                verdict.problems.append("opened read-only: extents overlap")
                return verdict
            tree, contents = await look(plane)
            judged = oracle.judge(tree, contents, kept)
            verdict.problems += judged.problems
            verdict.checks += judged.checks
            if depth >= USE and not verdict.problems:
                verdict.problems += await use(plane, contents)
                left, free = await look(plane), await plane.free()
        if depth >= USE and not verdict.problems:
            verdict.problems += await _check_second(layout, left, free)
            verdict.checks += 3 + len(contents)
    except (IomapdError, OSError, ExceptionGroup) as exc:
        verdict.problems.append("".join(traceback.format_exception(exc)))
    return verdict


async def check_unfinished(layout: Path) -> list[str]:
    """Check a state from before create was done: it can be repeated, or has left a volume."""
    # Refused where a whole volume is there.
    with contextlib.suppress(IomapdError):
        create(layout)
    try:
        async with opened(layout) as plane:
            return [f"a new volume with {tree}"] if (tree := await plane.tree()) else []
    except (IomapdError, OSError) as exc:
        return [f"neither a volume nor the remains of a create: {exc}"]


def fsck(layout: Path) -> list[str]:
    """What `iomapd fsck` would call an error."""
    try:
        return [f"fsck: {finding.message}" for finding in check_volume(load_layout(layout)).errors]
    except IomapdError as exc:
        return [f"fsck: {exc}"]


async def look(plane) -> tuple[dict, Contents]:
    """The tree, and the bytes of every regular file by inode number."""
    tree = await plane.tree()
    contents: Contents = {}
    for path, node in tree.items():
        if stat.S_ISREG(node.mode) and node.ino not in contents:
            contents[node.ino] = await plane.read(path)
    return tree, contents


async def use(plane, contents: Contents) -> list[str]:
    """Work on an opened volume as if nothing had happened."""
    problems = []
    tree = await plane.tree()
    names = {node.ino: path for path, node in tree.items()}
    for ino, held in list(contents.items())[:USED_FILES]:
        grown = len(held) + tagged.BLOCK + 123
        await plane.truncate(names[ino], grown)
        if (now := await plane.read(names[ino])) != held.ljust(grown, b"\0"):
            at = next(i for i, byte in enumerate(now) if byte != (held.ljust(grown, b"\0"))[i])
            problems.append(f"{names[ino]}: grown, it shows {now[at : at + 16].hex()} at {at}")
    handle = (await plane.create("newcomer"))[1]
    data = tagged.content(NEWCOMER, 20 * tagged.BLOCK)
    done = await _write_what_fits(plane, handle, data)
    await plane.fsync(handle)
    await plane.close(handle)
    if await plane.read("newcomer") != data[:done]:
        problems.append("newcomer: reads back other bytes than were written")
    if contents:
        path = names[min(contents)]
        await plane.unlink(path)
        await plane.fsyncdir("")
    return problems


async def _write_what_fits(plane, handle: int, data: bytes) -> int:
    """Write from the beginning of a file; only a volume without one free block may refuse."""
    try:
        return await plane.write(handle, 0, data)
    except OSError as exc:
        if exc.errno != errno.ENOSPC or (await plane.free())[0]:
            raise
        return 0


async def _check_second(layout: Path, left: tuple[dict, Contents], free: tuple[int, int]):
    problems = [f"after an orderly end: {problem}" for problem in fsck(layout)]
    used = sum(check_volume(load_layout(layout)).usage.used.values())
    if free[1] - used != free[0]:
        problems.append(f"free space: {free[0]} of {free[1]} bytes, and extents own {used}")
    async with opened(layout) as plane:
        if await look(plane) != left:
            problems.append("opened again, it is not as it was left")
    return problems
