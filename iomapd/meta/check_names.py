# SPDX-License-Identifier: MIT
"""Do names, inodes and what belongs to them fit together?

    every name        lies in a directory, leads to an inode, is a name
    every inode       has as many names as it counts links; directories one, and
                      two links more than subdirectories
    every directory   is reached from the root
    every row         of another table belongs to an inode of the right type

An inode without links and names is no fault: a file deleted while it was open,
swept at the next mount.
"""

from __future__ import annotations

import stat
from collections import Counter
from typing import TYPE_CHECKING

from iomapd.abi.units import MAX_FILE_SIZE
from iomapd.meta.findings import Finding, PathNames, shown_name
from iomapd.meta.schema import ROOT_INO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iomapd.meta.records import DirentRecord, InodeRecord
    from iomapd.meta.store import Store

CHECK = "names"
_TYPES = frozenset(
    {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR}
    | {stat.S_IFBLK}
)


def check_names(store: Store, paths: PathNames) -> Iterator[Finding]:
    """Check inodes, directory entries, symlinks and extended attributes.

    Args:
        store: read from beginning to end, several times.
        paths: how to call inodes.
    """
    modes = {inode.ino: inode.mode for inode in store.iter_inodes()}
    if not stat.S_ISDIR(modes.get(ROOT_INO, 0)):
        yield Finding(CHECK, f"inode {ROOT_INO}, the root, is not a directory", "/")
    nr_names: Counter[int] = Counter()
    nr_subdirectories: Counter[int] = Counter()
    parents: dict[int, int] = {}
    for dirent in store.iter_dirents():
        yield from _check_dirent(dirent, modes, paths)
        nr_names[dirent.ino] += 1
        if stat.S_ISDIR(modes.get(dirent.ino, 0)):
            nr_subdirectories[dirent.parent] += 1
            parents[dirent.ino] = dirent.parent
    layouts = store.layouts()
    for inode in store.iter_inodes():
        for rule in _broken_rules(inode, nr_names[inode.ino], nr_subdirectories[inode.ino]):
            yield _about(inode.ino, paths, rule)
        if inode.layout not in layouts:
            yield _about(inode.ino, paths, f"layout {inode.layout} is not there")
        if stat.S_ISLNK(inode.mode):
            yield from _check_target(store, inode, paths)
    yield from _check_reached(parents, paths)
    for ino in {xattr.ino for xattr in store.iter_xattrs()} - modes.keys():
        yield Finding(CHECK, f"extended attributes belong to inode {ino}, which is not there")


def _check_dirent(
    dirent: DirentRecord, modes: dict[int, int], paths: PathNames
) -> Iterator[Finding]:
    path = f"{paths.path(dirent.parent).rstrip('/')}/{shown_name(dirent.name)}"
    if dirent.parent not in modes:
        yield Finding(CHECK, f"{path}: its directory is not there", path)
    elif not stat.S_ISDIR(modes[dirent.parent]):
        yield Finding(CHECK, f"{path}: lies in something that is no directory", path)
    if dirent.ino not in modes:
        yield Finding(CHECK, f"{path}: leads to inode {dirent.ino}, which is not there", path)
    if dirent.name in (b".", b"..") or b"/" in dirent.name or b"\0" in dirent.name:
        yield Finding(CHECK, f"{path}: is no name a file can have", path)


def _broken_rules(inode: InodeRecord, nr_names: int, nr_subdirectories: int) -> Iterator[str]:
    if stat.S_IFMT(inode.mode) not in _TYPES:
        yield f"mode {inode.mode:o} has no file type"
    if not 0 <= inode.size <= MAX_FILE_SIZE:
        yield f"size {inode.size} is out of range"
    if not stat.S_ISDIR(inode.mode):
        if inode.nlink != nr_names:
            yield f"counts {inode.nlink} links and has {nr_names} names"
        return
    expected = 0 if inode.ino == ROOT_INO else 1
    if inode.nlink == 0:
        expected = 0
        if nr_subdirectories:
            yield f"is deleted and has {nr_subdirectories} subdirectories"
    elif inode.nlink != 2 + nr_subdirectories:
        yield f"counts {inode.nlink} links and has {nr_subdirectories} subdirectories"
    if nr_names != expected:
        yield f"is a directory with {nr_names} names; it has {expected}"


def _check_target(store: Store, inode: InodeRecord, paths: PathNames) -> Iterator[Finding]:
    target = store.names.target(inode.ino)
    if target is None:
        yield _about(inode.ino, paths, "is a symbolic link without a target")
    elif len(target) != inode.size:
        rule = f"its target has {len(target)} bytes, its size is {inode.size}"
        yield _about(inode.ino, paths, rule)


def _check_reached(parents: dict[int, int], paths: PathNames) -> Iterator[Finding]:
    """Directories that no way from the root leads to: they form rings, or hang on one."""
    reached = {ROOT_INO}
    for start in parents:
        way: set[int] = set()
        ino = start
        while ino not in reached and ino in parents and ino not in way:
            way.add(ino)
            ino = parents[ino]
        if ino in reached:
            reached.update(way)
        elif ino in way:
            yield _about(start, paths, "is not reached from the root")


def _about(ino: int, paths: PathNames, rule: str) -> Finding:
    path = paths.path(ino)
    return Finding(CHECK, f"{path}: {rule}", path)
