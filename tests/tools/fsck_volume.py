# SPDX-License-Identifier: MIT
"""A small volume with some of everything, made row by row, for checks to be held against."""

from contextlib import closing
from pathlib import Path

from iomapd.mapping.extent import Extent, Strip
from iomapd.meta.records import InodeRecord
from iomapd.meta.store import Store
from iomapd.tools.create import create_volume
from iomapd.tools.fsck import check_volume
from iomapd.volume.layout_file import MemberSpec, load_layout, render_layout
from tests.faults.mutate import lawless

MIB = 1 << 20
UNIT = 65536


def build(directory):
    """A volume of three members with a few files in it; returns its layout file."""
    path = directory / "v.toml"
    members = [MemberSpec(Path(f"m{i}.img"), 16 * MIB, sparse=True) for i in range(3)]
    path.write_text(render_layout(name="v", unit="64KiB", members=members))
    layout = load_layout(path)
    create_volume(layout)
    with closing(Store.open(layout.metadata)) as store, store.transaction():
        populate(store)
    return layout


def inode(mode, **changes):
    base = {"ino": 0, "mode": mode, "uid": 0, "gid": 0, "nlink": 1, "rdev": 0, "size": 0,
            "atime_ns": 0, "mtime_ns": 0, "ctime_ns": 0, "btime_ns": 0, "layout": 1}  # fmt: skip
    return InodeRecord(**{**base, **changes})


def populate(store):
    """/dir/sub, /dir/striped (2 names), /small, /link; a deleted file; marks; an attribute."""
    names, space = store.names, store.space
    store.names.update_inode(inode(0o40755, ino=1, nlink=3))
    directory = names.insert_inode(inode(0o40755, nlink=3))
    names.link(1, b"dir", directory)
    names.link(directory, b"sub", names.insert_inode(inode(0o40755, nlink=2)))
    striped = names.insert_inode(inode(0o100644, nlink=2, size=3 * MIB + 4096))
    names.link(directory, b"striped", striped)
    names.link(1, b"again", striped)
    small = names.insert_inode(inode(0o100644, size=100))
    names.link(1, b"small", small)
    link = names.insert_inode(inode(0o120777, size=3))
    names.link(1, b"link", link)
    names.set_target(link, b"dir")
    names.insert_inode(inode(0o100644, nlink=0))
    names.set_xattr(small, b"user.a", b"b")
    strips = tuple(Strip(member, 0) for member in (1, 2, 3))
    space.put_extents([
        Extent(striped, 0, 3 * MIB, 1, UNIT, striped, MIB, MIB, strips),
        Extent(striped, 3 * MIB, 4096, 1, UNIT, striped, 4096, 4096, (Strip(1, 8 * MIB),)),
        Extent(small, 0, 4096, 1, UNIT, small, 4096, 4096, (Strip(2, 8 * MIB),)),
    ])  # fmt: skip
    space.mark_written(striped, [(0, 3 * MIB + 4096)])
    space.mark_written(small, [(0, 4096)])


def plant(layout, *statements):
    """Run SQL on the store, as no server would, and past every constraint."""
    with lawless(layout.metadata) as connection:
        for statement in statements:
            connection.execute(statement)


def found(layout, severity="error"):
    """What fsck says."""
    return [f.message for f in check_volume(layout).findings if f.severity == severity]
