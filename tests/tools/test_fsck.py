# SPDX-License-Identifier: MIT
"""fsck: a good volume is clean, and each fault planted in one is found and named by path."""

import json
import os
import shutil
import stat
from contextlib import closing
from pathlib import Path

import pytest

from iomapd.cli.main import main
from iomapd.errors import StoreBusyError, StoreMissingError
from iomapd.mapping.extent import Extent, Strip
from iomapd.meta.check_space import _Runs
from iomapd.meta.findings import shown_name
from iomapd.meta.records import InodeRecord
from iomapd.meta.store import Store
from iomapd.tools.create import create_volume
from iomapd.tools.fsck import check_volume
from iomapd.volume.layout_file import MemberSpec, load_layout, render_layout
from tests.volume.builders import flip

MIB = 1 << 20
UNIT = 65536


@pytest.fixture
def layout(tmp_path):
    """A volume of three members with a few files in it."""
    path = tmp_path / "v.toml"
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
    striped = names.insert_inode(inode(0o100644, nlink=2, size=3 * MIB))
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
    """Run SQL on the store, as no server would."""
    with closing(Store.open(layout.metadata)) as store:
        for statement in statements:
            store._database.connection.execute(statement)


def found(layout, severity="error"):
    return [f.message for f in check_volume(layout).findings if f.severity == severity]


def test_a_good_volume_is_clean_and_counted(layout):
    report = check_volume(layout)
    assert report.findings == []
    body = report.body()
    assert (body["schema"], body["version"], body["clean"]) == ("iomapd.fsck", 1, True)
    assert (body["inodes"], body["extents"]) == (7, 3)
    used = 3 * MIB + 8192
    size = 3 * (16 * MIB - MIB - 4096)
    assert body["space"] == {"size": size, "used": used, "free": size - used, "written": used}


def test_nothing_is_written(layout):
    before = {p: p.read_bytes() for p in layout.path.parent.iterdir()}
    check_volume(layout)
    assert {p: p.read_bytes() for p in layout.path.parent.iterdir()} == before


# Written short below, so that a fault and what is said of it fit on a line.
SHORT = {
    "@small": "WHERE name=x'736d616c6c'", "@link": "WHERE name=x'6c696e6b'", "#5": "WHERE ino=5",
}  # fmt: skip


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        # names
        ("UPDATE inode SET mode=33188 WHERE ino=1", "inode 1, the root, is not a directory"),
        ("UPDATE dirent SET ino=99 @small",
         "/small: leads to inode 99, which is not there"),
        ("UPDATE dirent SET parent=99 @small", "inode 99/small: its directory"),
        ("UPDATE dirent SET parent=5 @link",
         "/small/link: lies in something that is no directory"),
        ("UPDATE dirent SET name=x'2e2e' @small", "/..: is no name a file can have"),
        ("UPDATE dirent SET name=x'612f62' @small", "/a/b: is no name a file"),
        ("UPDATE dirent SET name=x'0a' @small; UPDATE inode SET nlink=3 #5",
         "/\\x0a: counts 3 links and has 1 names"),
        ("UPDATE inode SET nlink=5 WHERE ino=4", "/dir/striped: counts 5 links and has 2 names"),
        ("UPDATE inode SET nlink=0 WHERE ino=4", "/dir/striped: counts 0 links and has 2 names"),
        ("DELETE FROM dirent @small", "inode 5: counts 1 links and has 0 names"),
        ("UPDATE inode SET nlink=2 WHERE ino=2", "/dir: counts 2 links and has 1 subdirectories"),
        ("INSERT INTO dirent (parent,name,ino) VALUES (1,x'6464',3); UPDATE inode SET nlink=4 "
         "WHERE ino=1", "/dir/sub: is a directory with 2 names; it has 1"),
        ("UPDATE dirent SET parent=3 WHERE ino=2", "is not reached from the root"),
        ("UPDATE inode SET mode=420 #5", "/small: mode 644 has no file type"),
        ("UPDATE inode SET layout=9 #5", "/small: layout 9 is not there"),
        ("DELETE FROM symlink", "/link: is a symbolic link without a target"),
        ("UPDATE inode SET size=4 WHERE ino=6", "/link: its target has 3 bytes, its size is 4"),
        ("UPDATE xattr SET ino=99", "extended attributes belong to inode 99"),
        # space
        ("UPDATE extent SET ino=3 #5", "/dir/sub: has an extent, but is no regular file"),
        ("UPDATE extent SET ino=99 #5", "inode 99: has an extent, but is no regular file"),
        ("UPDATE extent SET start=2097152 WHERE start=3145728",
         "/dir/striped: extents at 0 and 2097152 overlap in the file"),
        ("UPDATE extent SET strip_alloc=8192 #5", "length 4096 is not 1 strips of 8192"),
        ("UPDATE extent SET strips=(SELECT strips FROM extent WHERE start=3145728) #5",
         "both own bytes 8388608 to 8392704 of member 1"),
        ("UPDATE extent SET strips=x'09000000000000000000000000000000' #5",
         "no member has id 9"),
        ("UPDATE extent SET strips=x'02000000000000000000f00000000000' #5",
         "leaves the 15724544 B data area of member 2"),
        ("UPDATE extent SET layout=9 #5", "a row of table extent names a layout that is not there"),
        ("UPDATE content SET start=100 #5", "written range at 100 of 4096 bytes is not whole"),
        ("UPDATE content SET length=8192 #5", "/small: bytes 0 to 8192 are marked "
         "written, but no extent holds them"),
        ("UPDATE content SET start=4096 #5", "/small: bytes 4096 to 8192 are marked written"),
        ("UPDATE content SET ino=99 #5", "inode 99: bytes 0 to 4096 are marked written"),
        ("INSERT INTO content VALUES (4,4096,4096)", "/dir/striped: written ranges at 0 and"),
        # header and programs
        ("UPDATE program SET source=source||' '", "the source of program raid0 is not"),
        ("UPDATE program SET abi=99", "program raid0 is of ABI 99; this iomapd knows 1"),
        ("UPDATE volume SET pending=7", "generation 1, pending 7; a mount adds one"),
        ("UPDATE layout SET unit=4096", "v.toml:3: volume.unit = 64KiB: the store says 4KiB"),
        ("UPDATE volume SET root_layout=9", "the root layout names row 9, which is not there"),
    ],
)  # fmt: skip
def test_each_planted_fault_is_found(layout, statement, said):
    for short, long in SHORT.items():
        statement = statement.replace(short, long)
    plant(layout, *statement.split(";"))
    messages = found(layout)
    assert any(said in message for message in messages), messages
    assert all("\n" not in message for message in messages)


def test_both_files_of_an_overlap_are_named(layout):
    strips = "(SELECT strips FROM extent WHERE start=3145728)"
    plant(layout, f"UPDATE extent SET strips={strips} WHERE ino=5")
    (message,) = found(layout)
    assert {"/dir/striped", "/small:"} <= set(message.split())


def test_a_damaged_page_of_the_store_is_told_in_words(layout):
    with closing(Store.open(layout.metadata)) as store:
        store.checkpoint()
        execute = store._database.connection.execute
        (root,) = execute("SELECT rootpage FROM sqlite_master WHERE name='inode'").fetchone()
        (page,) = execute("PRAGMA page_size").fetchone()
    with layout.metadata.open("r+b") as file:
        file.seek((root - 1) * page)
        file.write(b"\xaa" * page)
    messages = found(layout)
    assert any(message.endswith("the check of names and space ended here") for message in messages)
    assert all(message.startswith(str(layout.metadata)) for message in messages)


# -- members


def test_a_damaged_copy_is_a_warning_and_two_are_an_error(layout):
    first = layout.members[0].path
    flip(first, 100)
    assert found(layout) == []
    (warning,) = found(layout, "warning")
    assert f"{first}: first superblock copy" in warning
    flip(first, 16 * MIB - 4096 + 100)
    messages = found(layout)
    assert any(m.startswith(f"{first}: no whole copy of the superblock") for m in messages)
    assert any(m.startswith("member 0, UUID") for m in messages)


def test_a_missing_member_is_an_error_and_a_moved_one_is_not(layout):
    first = layout.members[0].path
    moved = first.rename(first.with_name("moved.img"))
    messages = found(layout)
    assert messages == [f"{first}: missing: No such file or directory"]
    moved.unlink()
    assert any("was not found" in message for message in found(layout))


def test_clones_and_strangers_are_errors(layout):
    first, second, _ = (m.path for m in layout.members)
    shutil.copyfile(first, second)
    assert any(f"{second}: is a clone of {first}" in message for message in found(layout))
    os.truncate(second, 0)
    os.truncate(second, 16 * MIB)
    assert any("carries no iomapd superblock" in message for message in found(layout))


def test_stale_members_and_stale_stores_are_errors(layout):
    plant(layout, "UPDATE volume SET generation=2, pending=2")
    messages = found(layout)
    assert len(messages) == 3
    assert all("is stale: of generation 1" in message for message in messages)


# -- the command


def run(*arguments):
    """Run the command as the program does; return its exit status."""
    return main(["fsck", *map(str, arguments)])


def test_exit_bits_are_those_of_fsck(layout, capsys):
    assert run(layout.path) == 0
    assert "v: clean" in capsys.readouterr().out
    plant(layout, "UPDATE inode SET nlink=9 WHERE ino=5")
    assert run(layout.members[0].path) == 4
    out = capsys.readouterr().out
    assert "error: /small: counts 9 links and has 1 names" in out
    assert "v: 1 errors" in out
    layout.metadata.unlink()
    assert run(layout.path) == 8
    assert "the metadata store is missing" in capsys.readouterr().err
    assert run() == 16
    assert run(layout.path, "--mend") == 16
    assert capsys.readouterr().err.count("\n") == 2


def test_json_carries_findings_with_paths(layout, capsys):
    plant(layout, "UPDATE inode SET nlink=9 WHERE ino=5")
    assert run(layout.path, "--json") == 4
    body = json.loads(capsys.readouterr().out)
    assert (body["schema"], body["version"], body["clean"]) == ("iomapd.fsck", 1, False)
    (finding,) = body["findings"]
    assert (finding["check"], finding["severity"], finding["path"]) == ("names", "error", "/small")


def test_a_volume_in_use_is_told_in_one_line(layout, capsys):
    with closing(Store.open(layout.metadata)):
        assert run(layout.path) == 8
        with pytest.raises(StoreBusyError):
            check_volume(layout)
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "the volume is in use" in err


def test_a_store_that_is_missing_cannot_be_checked(layout):
    layout.metadata.unlink()
    with pytest.raises(StoreMissingError):
        check_volume(layout)


# -- small parts


def test_names_stay_on_one_line():
    assert shown_name(b"plain \xc3\xbc") == "plain \u00fc"
    assert shown_name(b"a\nb\x7f") == "a\\x0ab\\x7f"
    assert shown_name(b"\xff") == "\\xff"


def test_runs_join_extents_that_touch():
    def extent(ino, offset, length):
        return Extent(ino, offset, length, 1, UNIT, ino, length, length, (Strip(1, 0),))

    places = [(1, 0, 4096), (1, 4096, 8192), (1, 20480, 4096), (3, 0, 4096)]
    runs = _Runs(extent(*place) for place in places)
    covered = {(1, 0, 12288): True, (1, 8192, 12288): True, (1, 8192, 16384): False,
               (1, 20480, 24576): True, (2, 0, 4096): False, (3, 0, 4096): True,
               (3, 0, 8192): False, (4, 0, 1): False}  # fmt: skip
    assert {asked: runs.cover(*asked) for asked in covered} == covered


def test_the_types_in_the_check_are_all_there_are():
    types = [stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR,
             stat.S_IFBLK]  # fmt: skip
    from iomapd.meta.check_names import _TYPES

    assert frozenset(types) == _TYPES
