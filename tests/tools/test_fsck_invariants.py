# SPDX-License-Identifier: MIT
"""One test per invariant: break exactly one thing, and fsck says exactly that, in words.

The statements run past every constraint of the store: a damaged file has none.
"""

import hashlib
import json
import sqlite3
from contextlib import closing

import pytest

from iomapd.tools.fsck import check_volume
from tests.faults import mutate
from tests.tools.fsck_volume import found, plant

# Written short below, so that a fault and what is said of it fit on a line.
SHORT = {
    "@small": "WHERE name=x'736d616c6c'", "@link": "WHERE name=x'6c696e6b'", "#5": "WHERE ino=5",
}  # fmt: skip

NAMES = [
    ("UPDATE dirent SET ino=88 @small; DELETE FROM inode #5; DELETE FROM xattr; "
     "DELETE FROM extent #5; DELETE FROM content #5; UPDATE sqlite_sequence SET seq=90",
     "/small: leads to inode 88, which is not there"),
    ("INSERT INTO dirent (parent,name,ino) VALUES (88,x'61',5); UPDATE inode SET nlink=2 #5",
     "inode 88/a: its directory is not there"),
    ("INSERT INTO dirent (parent,name,ino) VALUES (5,x'61',6); UPDATE inode SET nlink=2 "
     "WHERE ino=6", "/small/a: lies in something that is no directory"),
    ("UPDATE dirent SET name=x'2e2e' @small", "/..: is no name a file can have"),
    ("UPDATE dirent SET name=x'612f62' @small", "/a/b: is no name a file can have"),
    ("UPDATE dirent SET name=x'6100' @small", "/a\\x00: is no name a file can have"),
    ("UPDATE dirent SET name=x'0a' @small; UPDATE inode SET nlink=3 #5",
     "/\\x0a: counts 3 links and has 1 names"),
    ("UPDATE inode SET nlink=5 WHERE ino=4", "/dir/striped: counts 5 links and has 2 names"),
    ("UPDATE inode SET nlink=0 WHERE ino=4", "/dir/striped: counts 0 links and has 2 names"),
    ("DELETE FROM dirent @small", "unlinked inode 5: counts 1 links and has 0 names"),
    ("UPDATE inode SET nlink=2 WHERE ino=2", "/dir: counts 2 links and has 1 subdirectories"),
    ("INSERT INTO dirent (parent,name,ino) VALUES (1,x'6464',3); UPDATE inode SET nlink=4 "
     "WHERE ino=1", "/dir/sub: is a directory with 2 names; it has 1"),
    ("UPDATE inode SET nlink=0 WHERE ino=2; DELETE FROM dirent WHERE ino=2; UPDATE inode SET "
     "nlink=2 WHERE ino=1", "unlinked inode 2: is deleted and has 1 subdirectories"),
    ("UPDATE inode SET mode=420 WHERE ino=7", "unlinked inode 7: mode 644 has no file type"),
    ("UPDATE inode SET layout=9 #5", "/small: names layout 9, which is not there"),
    ("DELETE FROM symlink", "/link: is a symbolic link without a target"),
    ("UPDATE inode SET size=4 WHERE ino=6", "/link: its target has 3 bytes, its size is 4"),
    ("INSERT INTO symlink VALUES (5,x'61')", "/small: has a target, but is no symbolic link"),
    ("UPDATE xattr SET ino=99", "extended attributes belong to inode 99, which is not there"),
]  # fmt: skip
SPACE = [
    ("UPDATE extent SET ino=3,seed=3 #5; DELETE FROM content #5",
     "/dir/sub: has an extent, but is no regular file"),
    ("UPDATE extent SET ino=7 #5; DELETE FROM content #5",
     "unlinked inode 7: extent at 0: was made by inode 5"),
    ("UPDATE extent SET start=3141632 WHERE start=3145728; UPDATE content SET length=3145728 "
     "WHERE ino=4", "/dir/striped: extents at 0 and 3141632 overlap in the file"),
    ("UPDATE extent SET strip_alloc=8192,strip_length=8192 #5",
     "/small: extent of inode 5 at 0: length 4096 is not 1 strips of 8192"),
    ("UPDATE extent SET strip_alloc=0 #5", "length 4096 is not 1 strips of 0"),
    ("UPDATE extent SET strip_length=0 #5", "strip_alloc 4096 is not in 1..0"),
    ("UPDATE extent SET strip_length=1048577 WHERE ino=4 AND start=0",
     "/dir/striped: extent of inode 4 at 0: strip_length 1048577 is not a multiple of 65536"),
    ("UPDATE extent SET strip_length=4611686018427387904 #5",
     "/small: extent at 0: strips of 4611686018427387904 B, its layout allows 1073741824"),
    ("UPDATE extent SET strips=(SELECT strips FROM extent WHERE start=3145728) #5",
     "/dir/striped and /small: both own bytes 8388608 to 8392704 of member 0"),
    ("UPDATE extent SET strips=x'01000000000000000000000000000000' WHERE start=3145728",
     "/dir/striped: two of its extents own bytes 0 to 4096 of member 0"),
    ("UPDATE extent SET strips=x'09000000000000000000000000000000' #5", "no member has id 9"),
    ("UPDATE extent SET strips=x'02000000000000000000f00000000000' #5",
     "leaves the 15724544 B data area of member 2"),
    ("UPDATE extent SET strips=x'02000000000000000000000000000080' #5",
     "leaves the 15724544 B data area of member 2"),
    ("UPDATE extent SET strips=x'02000000000000000100900000000000' #5", "is no block multiple"),
    ("UPDATE extent SET layout=9 #5", "/small: extent of inode 5: names layout 9"),
    ("UPDATE extent SET strips=x'0102' #5", "/small: extent of inode 5: strips is the bytes 0102"),
    ("UPDATE extent SET strips=substr(strips,1,40) WHERE ino=4 AND start=0",
     "/dir/striped: extent of inode 4: 40 bytes of strips; they have 16 each"),
    ("UPDATE extent SET length='long' #5", "extent of inode 5: length is the text 'long'"),
    ("UPDATE content SET start=100 #5", "/small: written range at 100 of 4096 bytes is not whole"),
    ("UPDATE content SET length=8192 #5; UPDATE inode SET size=8192 #5",
     "/small: bytes 0 to 8192 are marked written, but no extent holds them"),
    ("UPDATE content SET length=8192 #5", "/small: bytes 0 to 8192 are marked written, its size"),
    ("UPDATE content SET ino=88 #5; UPDATE sqlite_sequence SET seq=90 WHERE name='inode'",
     "inode 88: bytes 0 to 4096 are marked written, but no extent"),
    ("INSERT INTO content VALUES (4,4096,4096)", "/dir/striped: written ranges at 0 and 4096 over"),
    ("UPDATE content SET length=4096 WHERE ino=4; INSERT INTO content VALUES (4,4096,4096)",
     "/dir/striped: written ranges at 0 and 4096 touch, and are not one"),
    ("UPDATE content SET length=-4096 #5", "/small: content of inode row: length is -4096, not a"),
]  # fmt: skip
ROWS = [
    ("UPDATE inode SET size='big' #5", "/small: inode row: size is the text 'big', not a number"),
    ("UPDATE inode SET size=NULL #5", "/small: inode row: size is nothing, not a number"),
    ("UPDATE inode SET size=-1 #5", "/small: inode row: size is -1, not a number from 0 to 9223"),
    ("UPDATE inode SET uid=4294967296 #5", "/small: inode row: uid is 4294967296, not a number"),
    ("UPDATE inode SET mtime_ns=0.5 #5", "/small: inode row: mtime_ns is 0.5, not a number"),
    ("UPDATE dirent SET name='small' @small", "name of inode row: name is the text 'small', not"),
    ("UPDATE dirent SET name=zeroblob(300) @small", "name of inode row: name is the bytes 0000"),
    ("UPDATE symlink SET target=x''", "/link: symbolic link row: target is the bytes of none"),
    ("UPDATE xattr SET value=7", "/small: extended attribute of inode row: value is 7, not bytes"),
]  # fmt: skip
HEADER = [
    ("UPDATE program SET source=source||' '", "the source of program raid0 is not what its SHA"),
    ("UPDATE program SET abi=99", "program raid0 is of ABI 99; this iomapd knows 1"),
    ("UPDATE program SET source=x'00'", "program row: source is the bytes 00, not text of length"),
    ("UPDATE volume SET pending=7", "v.db: generation 1, pending 7; a mount adds one"),
    ("UPDATE volume SET root_layout=9", "v.db: the root layout names row 9, which is not there"),
    ("UPDATE layout SET unit=4097", "v.db: layout 1: unit 4097 is not a multiple of 4096"),
    ("UPDATE layout SET params=x'00'", "layout row: params is the bytes 00, not bytes of length"),
    ("UPDATE layout SET program=8", "v.db: layout 1: names program 8, which is not there"),
    ("UPDATE sqlite_sequence SET seq=3 WHERE name='inode'",
     "v.db: id 7 of table inode is in use, and 3 counts as the last one"),
    ("UPDATE sqlite_sequence SET seq='x' WHERE name='inode'",
     "v.db: the last id of table inode is the text 'x'"),
    ("DROP INDEX dirent_target", "v.db: index dirent_target is missing"),
    ("CREATE TRIGGER t AFTER DELETE ON dirent BEGIN DELETE FROM inode; END",
     "v.db: trigger the text 't' does not belong here"),
    ("ALTER TABLE inode ADD COLUMN more", "v.db: table inode is not as it was made"),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "said"), NAMES + SPACE + ROWS + HEADER)
def test_each_planted_fault_is_found_and_no_other(layout, statement, said):
    for short, long in SHORT.items():
        statement = statement.replace(short, long)
    if statement.startswith(("CREATE", "ALTER")):
        with closing(sqlite3.connect(layout.metadata)) as connection:
            connection.execute(statement)
    else:
        plant(layout, *statement.split(";"))
    (message,) = found(layout)
    assert said in message
    assert "\n" not in message


def test_a_root_that_is_no_directory_is_told(layout):
    plant(layout, "UPDATE inode SET mode=33188 WHERE ino=1")
    assert "/: inode 1, the root, is not a directory" in found(layout)


def test_directories_that_form_a_ring_are_told(layout):
    plant(
        layout,
        "UPDATE dirent SET parent=3 WHERE ino=2",
        "UPDATE inode SET nlink=2 WHERE ino=1",
        "UPDATE inode SET nlink=3 WHERE ino=3",
    )
    assert sorted(found(layout)) == [
        "inode 2/sub/dir: is not reached from the root",
        "inode 3/dir/sub: is not reached from the root",
    ]


def test_a_layout_file_that_contradicts_the_store_is_told_by_its_line(layout):
    text = layout.path.read_text().replace('"64KiB"', '"4KiB"')
    layout.path.write_text(text)
    from iomapd.volume.layout_file import load_layout

    (message,) = found(load_layout(layout.path))
    assert "v.toml:3: volume.unit = 4KiB: the store says 64KiB" in message


# -- the file under it all


def test_an_index_that_lost_a_row_is_told(layout):
    with mutate.lawless(layout.metadata) as connection:
        (sql,) = connection.execute(
            "SELECT sql FROM sqlite_master WHERE name='dirent_target'"
        ).fetchone()
        connection.execute("DROP INDEX dirent_target")
        connection.execute("CREATE INDEX dirent_target ON dirent (ino) WHERE ino<5")
        connection.execute("PRAGMA writable_schema=1")
        connection.execute("UPDATE sqlite_master SET sql=? WHERE name='dirent_target'", (sql,))
    messages = found(layout)
    assert any("missing from index dirent_target" in message for message in messages)
    assert all("index dirent_target" in message for message in messages), messages


def test_a_damaged_page_of_the_store_is_told_in_words(layout):
    mutate.settle(layout.metadata)
    with mutate.lawless(layout.metadata) as connection:
        execute = connection.execute
        (root,) = execute("SELECT rootpage FROM sqlite_master WHERE name='inode'").fetchone()
        (page,) = execute("PRAGMA page_size").fetchone()
    mutate.settle(layout.metadata)
    mutate.put(layout.metadata, (root - 1) * page, b"\xaa" * page)
    messages = found(layout)
    assert any(message.endswith("the check of names and space ended here") for message in messages)
    assert all(message.startswith(str(layout.metadata)) for message in messages)


# -- maps

PAIRS_ONLY = '''"""Two strips, or none of its business."""
from iomapd.abi import FALLBACK, HANDLED

def iomap_begin(ctx):
    if ctx.nr_strips != 2:
        return FALLBACK
    unit_index = ctx.pos // ctx.unit
    ctx.strip = unit_index % 2
    within = ctx.pos % ctx.unit
    ctx.addr = unit_index // 2 * ctx.unit + within
    ctx.length = min(ctx.unit - within, ctx.count)
    return HANDLED
'''
NO_BIJECTION = PAIRS_ONLY.replace("if ctx.nr_strips != 2", "if ctx.nr_strips < 0").replace(
    "unit_index % 2", "0"
)
BACKWARDS = '''"""RAID0 from the end."""
from iomapd.abi import HANDLED

def iomap_begin(ctx):
    unit_index = ctx.pos // ctx.unit
    row = unit_index // ctx.nr_strips
    within = ctx.pos - unit_index * ctx.unit
    ctx.strip = unit_index - row * ctx.nr_strips
    ctx.addr = ctx.strip_length - ctx.unit - row * ctx.unit + within
    ctx.length = min(ctx.unit - within, ctx.count)
    return HANDLED
'''


def give_program(layout, source, change=""):
    """Store a program and say that it has mapped /dir/striped."""
    digest = hashlib.sha256(source.encode()).hexdigest()
    with mutate.lawless(layout.metadata) as connection:
        values = (2, "mine", 1, digest, source)
        connection.execute("INSERT INTO program VALUES (?,?,?,?,?)", values)
        connection.execute(
            "INSERT INTO layout SELECT 2,unit,width,strip_min,strip_max,2,params,copies,flags "
            "FROM layout"
        )
        connection.execute(f"UPDATE extent SET layout=2{change} WHERE ino=4 AND start=0")


@pytest.mark.parametrize(
    ("source", "change", "said"),
    [
        (PAIRS_ONLY, "", "/dir/striped: program mine: declines the geometry of an extent"),
        (NO_BIJECTION, "", "/dir/striped: "),
        (BACKWARDS, "", ""),
        (BACKWARDS, ",strip_length=2097152", "/dir/striped: program mine: cut, though its first"),
    ],
)
def test_an_extents_map_is_proved_again(layout, source, change, said):
    give_program(layout, source, change)
    messages = found(layout)
    assert len(messages) == bool(said)
    assert not said or messages[0].startswith(said), messages


def test_progress_is_told_with_counts_that_grow(layout, monkeypatch):
    monkeypatch.setattr("iomapd.meta.scan.TICK", 4)
    told = []
    assert not check_volume(layout, lambda *step: told.append(step)).findings
    rows = [done for what, done, total in told if total > 4]
    assert rows == sorted(rows)
    assert len(rows) > 3
    json.dumps(check_volume(layout).body())
