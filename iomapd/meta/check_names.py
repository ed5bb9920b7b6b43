# SPDX-License-Identifier: MIT
"""Do names, inodes and what belongs to them fit together?

    every name        lies in a directory, leads to an inode, is a name
    every inode       has as many names as it counts links; directories one, and
                      two links more than subdirectories
    every directory   is reached from the root
    every row         of another table belongs to an inode of the right type

An inode without links and names is no fault: a file deleted while it was open,
swept at the next mount.  That a row's values can be values of its columns is
`scan`'s business.
"""

from __future__ import annotations

import stat
from collections import Counter
from typing import TYPE_CHECKING

from iomapd.meta.findings import Finding, shown_name
from iomapd.meta.schema import ROOT_INO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iomapd.meta.records import DirentRecord, InodeRecord
    from iomapd.meta.scan import Scan

CHECK = "names"
_TYPES = frozenset(
    {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR}
    | {stat.S_IFBLK}
)


def check_names(scan: Scan) -> Iterator[Finding]:
    """Check inodes, directory entries, symlinks and extended attributes."""
    if not scan.is_told(ROOT_INO) and not stat.S_ISDIR(scan.modes.get(ROOT_INO, 0)):
        yield Finding(CHECK, f"/: inode {ROOT_INO}, the root, is not a directory", "/")
    nr_names: Counter[int] = Counter()
    nr_subdirectories: Counter[int] = Counter()
    parents: dict[int, int] = {}
    for dirent in scan.dirents():
        yield from _check_dirent(dirent, scan)
        nr_names[dirent.ino] += 1
        if stat.S_ISDIR(scan.modes.get(dirent.ino, 0)):
            nr_subdirectories[dirent.parent] += 1
            parents[dirent.ino] = dirent.parent
    for inode in scan.inodes():
        if scan.is_told(inode.ino):
            continue
        for rule in _broken_rules(inode, nr_names[inode.ino], nr_subdirectories[inode.ino]):
            yield _about(inode.ino, scan, rule)
        if inode.layout not in scan.layouts.there:
            yield _about(inode.ino, scan, f"names layout {inode.layout}, which is not there")
    yield from _check_reached(parents, scan)
    yield from _check_targets(scan)
    for ino in dict.fromkeys(xattr.ino for xattr in scan.xattrs()):
        if not scan.is_there(ino):
            yield Finding(CHECK, f"extended attributes belong to inode {ino}, which is not there")


def _check_dirent(dirent: DirentRecord, scan: Scan) -> Iterator[Finding]:
    path = f"{scan.paths.path(dirent.parent).rstrip('/')}/{shown_name(dirent.name)}"
    if not scan.is_there(dirent.parent):
        yield Finding(CHECK, f"{path}: its directory is not there", path)
    elif not stat.S_ISDIR(scan.modes.get(dirent.parent, stat.S_IFDIR)):
        yield Finding(CHECK, f"{path}: lies in something that is no directory", path)
    if not scan.is_there(dirent.ino):
        yield Finding(CHECK, f"{path}: leads to inode {dirent.ino}, which is not there", path)
    if dirent.name in (b".", b"..") or b"/" in dirent.name or b"\0" in dirent.name:
        yield Finding(CHECK, f"{path}: is no name a file can have", path)


def _broken_rules(inode: InodeRecord, nr_names: int, nr_subdirectories: int) -> Iterator[str]:
    if stat.S_IFMT(inode.mode) not in _TYPES:
        yield f"mode {inode.mode:o} has no file type"
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


def _check_targets(scan: Scan) -> Iterator[Finding]:
    """Every symbolic link has a target of its size, and nothing else has one."""
    targets = {ino: len(target) for ino, target in scan.targets() if not scan.is_told(ino)}
    for inode in scan.inodes():
        if not stat.S_ISLNK(inode.mode) or scan.is_told(inode.ino):
            continue
        length = targets.pop(inode.ino, None)
        if length is None:
            yield _about(inode.ino, scan, "is a symbolic link without a target")
        elif length != inode.size:
            rule = f"its target has {length} bytes, its size is {inode.size}"
            yield _about(inode.ino, scan, rule)
    for ino in targets:
        if not scan.is_told(ino):
            yield _about(ino, scan, "has a target, but is no symbolic link")


def _check_reached(parents: dict[int, int], scan: Scan) -> Iterator[Finding]:
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
            yield _about(start, scan, "is not reached from the root")


def _about(ino: int, scan: Scan, rule: str) -> Finding:
    path = scan.paths.path(ino)
    return Finding(CHECK, f"{path}: {rule}", path)
