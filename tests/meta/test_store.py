# SPDX-License-Identifier: MIT
import os
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iomapd.errors import StoreBusyError, StoreError, StoreMissingError
from iomapd.geometry.ranges import RangeSet
from iomapd.mapping.extent import Extent, Strip
from iomapd.meta import database
from iomapd.meta.records import InodeRecord, LayoutRecord, MemberRecord, ProgramRecord, VolumeRecord
from iomapd.meta.store import Store, create_store


def make_store(path):
    create_store(
        path,
        VolumeRecord(uuid4(), "scratch", 1),
        [MemberRecord(1, 0, uuid4(), "a", 1 << 20, 1 << 30)],
        ProgramRecord(1, "raid0", 1, "0" * 64, "source"),
        LayoutRecord(1, 65536, 0, 1 << 20, 1 << 30, 1),
        (1000, 1000),
    )
    return Store.open(path)


@pytest.fixture
def store(tmp_path):
    store = make_store(tmp_path / "s.db")
    yield store
    store.close()


def inode(**changes):
    base = {
        "ino": 0, "mode": 0o100644, "uid": 0, "gid": 0, "nlink": 1, "rdev": 0, "size": 0,
        "atime_ns": 0, "mtime_ns": 0, "ctime_ns": 0, "btime_ns": 0, "layout": 1,
    }  # fmt: skip
    return InodeRecord(**{**base, **changes})


def test_a_second_opener_is_told_who_holds_the_store(store):
    with pytest.raises(StoreBusyError, match=f"by process {os.getpid()}"):
        Store.open(store.path)


def test_the_store_is_for_its_owner_only(store):
    with store.transaction():
        store.names.link(1, b"a", 7)
    for path in store.path.parent.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_log_that_has_once_grown_is_short_again_after_a_checkpoint(tmp_path, monkeypatch):
    # Else every durability point from then on would make a checkpoint.
    monkeypatch.setattr(database, "LOG_KEPT", 64 << 10)
    store = make_store(tmp_path / "s.db")
    store.sync()
    while store.wal_size() < 1 << 20:
        with store.transaction():
            store.names.set_xattr(1, b"user.a", os.urandom(4096))
    store.checkpoint()
    with store.transaction():
        store.names.set_xattr(1, b"user.a", b"small")
    assert store.wal_size() == 64 << 10
    store.close()


def test_a_missing_store_is_named(tmp_path):
    with pytest.raises(StoreMissingError, match=r"s\.db"):
        Store.open(tmp_path / "s.db")


def test_a_file_that_is_no_store_is_refused_in_words(tmp_path):
    (tmp_path / "s.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreError, match="not a readable metadata store"):
        Store.open(tmp_path / "s.db")


def test_an_empty_file_is_refused_and_stays_empty(tmp_path):
    (tmp_path / "s.db").touch()
    with pytest.raises(StoreError, match="not an iomapd metadata store"):
        Store.open(tmp_path / "s.db")
    assert {path.name: path.stat().st_size for path in tmp_path.iterdir()} == {"s.db": 0}


def test_opening_and_closing_a_store_changes_no_byte(tmp_path):
    """A mount that is refused for its members' sake has opened the store before."""
    make_store(tmp_path / "s.db").close()
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    Store.open(tmp_path / "s.db").close()
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_newer_schema_is_refused_by_its_number(store):
    store._database.connection.execute("PRAGMA user_version=99")
    path = store.path
    store.close()
    with pytest.raises(StoreError, match="schema version 99"):
        Store.open(path)
    store.__init__(_reopen(path))


def _reopen(path):
    import sqlite3

    from iomapd.meta.database import Database

    sqlite3.connect(path).execute("PRAGMA user_version=1").connection.close()
    return Database(path, read_only=False, wait=0)


def test_an_ino_is_never_given_twice(store):
    with store.transaction():
        first = store.names.insert_inode(inode())
        store.names.delete_inode(first)
        assert store.names.insert_inode(inode()) > first


def test_a_failed_transaction_leaves_nothing(store):
    def link_twice():
        with store.transaction():
            store.names.link(1, b"a", 7)
            store.names.link(1, b"a", 8)

    with pytest.raises(StoreError):
        link_twice()
    assert store.names.find(1, b"a") is None


def test_a_generation_is_entered_in_two_durable_steps(store):
    assert (store.generation, store.pending) == (1, 1)
    assert store.begin_generation() == 2
    assert (store.generation, store.pending) == (1, 2)
    path = store.path
    store.close()
    store.__init__(Store.open(path)._database)
    assert store.begin_generation() == 2, "an interrupted mount does not burn numbers"
    store.settle_generation()
    assert (store.generation, store.pending) == (2, 2)


def test_a_read_only_store_changes_no_byte_beside_its_path(store, tmp_path):
    path = store.path
    with store.transaction():
        store.names.link(1, b"a", 7)
    store.close()
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    reader = Store.open(path, read_only=True)
    assert reader.names.find(1, b"a") == 7
    reader.close()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    store.__init__(Store.open(path)._database)


def test_extents_are_found_by_range(store):
    extents = [
        Extent(5, start, 8192, 1, 65536, 5, 8192, 8192, (Strip(1, start),), False)
        for start in (0, 8192, 32768)
    ]
    with store.transaction():
        store.space.put_extents(extents)
    assert store.space.extents(5, 8191, 8193, 10) == extents[:2]
    assert store.space.extents(5, 16384, 32768, 10) == []
    assert store.space.extents(5, 16384, 40000, 10) == extents[2:]
    assert list(store.space.iter_extents()) == extents


BLOCKS = st.integers(0, 30)


@given(st.lists(st.tuples(st.booleans(), BLOCKS, BLOCKS), max_size=12))
def test_content_rows_are_the_set_they_stand_for(tmp_path_factory, steps):
    store = make_store(tmp_path_factory.mktemp("s") / "s.db")
    model = RangeSet()
    with store.transaction():
        for written, a, b in steps:
            start, end = sorted((a * 4096, b * 4096))
            if start == end:
                continue
            if written:
                store.space.mark_written(9, [(start, end)])
                model.add(start, end)
            else:
                store.space.clear_written(9, start, end)
                model.remove(start, end)
    assert store.space.written(9) == list(model)
    store.close()
