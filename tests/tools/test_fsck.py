# SPDX-License-Identifier: MIT
"""fsck: a good volume is clean, and each fault planted in one is found and named by path."""

import json
import os
import shutil
import stat
from contextlib import closing

import pytest

from iomapd.cli.main import main
from iomapd.errors import StoreBusyError, StoreError, StoreMissingError
from iomapd.mapping.extent import Extent, Strip
from iomapd.meta.check_space import _Runs
from iomapd.meta.findings import shown_name
from iomapd.meta.store import Store
from iomapd.tools.fsck import check_volume
from tests.tools.fsck_volume import MIB, UNIT, found, plant
from tests.volume.builders import flip


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


def test_a_store_that_cannot_be_read_does_not_send_the_reader_of_fsck_to_fsck(layout):
    with layout.metadata.open("r+b") as store:
        store.seek(100)
        store.write(os.urandom(3 * 4096))
    with pytest.raises(StoreError) as caught:
        check_volume(layout)
    assert str(layout.metadata) in str(caught.value)
    assert "fsck" not in str(caught.value)


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
