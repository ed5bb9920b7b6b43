# SPDX-License-Identifier: MIT
"""Object files are trusted only when they are ours and whole."""

import os
import tempfile

import pytest

from iomapd.jit import cache
from iomapd.jit.cache import ObjectStore

KEY = "ab" * 32
DATA = b"object code" * 100


@pytest.fixture
def store(object_dir):
    store = ObjectStore.open(object_dir)
    store.save("unit", KEY, DATA)
    return store


def test_what_was_saved_is_loaded(store):
    assert store.load("unit", KEY) == DATA


def test_nothing_is_left_beside_the_object(store):
    assert [path.name for path in store.directory.iterdir()] == [store.path_of("unit", KEY).name]


def test_the_directory_and_its_files_are_closed_to_others(store):
    assert store.directory.stat().st_mode & 0o777 == 0o700
    assert store.path_of("unit", KEY).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("at", [0, 15, 16, 47, 48, -1])
def test_one_changed_byte_makes_it_as_good_as_none(store, at):
    path = store.path_of("unit", KEY)
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    assert store.load("unit", KEY) is None


@pytest.mark.parametrize("length", [0, 10, 48, 200])
def test_a_short_file_is_as_good_as_none(store, length):
    os.truncate(store.path_of("unit", KEY), length)
    assert store.load("unit", KEY) is None


def test_an_object_under_another_key_is_not_taken(store):
    other = "cd" * 32
    store.path_of("unit", KEY).rename(store.path_of("unit", other))
    assert store.load("unit", other) is None


def test_a_file_that_others_may_write_is_not_taken(store):
    store.path_of("unit", KEY).chmod(0o666)
    assert store.load("unit", KEY) is None


def test_a_link_is_not_followed(store, tmp_path):
    path = store.path_of("unit", KEY)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert store.load("unit", KEY) is None


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o777])
def test_a_directory_open_to_others_is_not_used(object_dir, mode):
    object_dir.mkdir()
    object_dir.chmod(mode)
    assert ObjectStore.open(object_dir) is None


def test_a_linked_directory_is_not_used(object_dir, tmp_path):
    (tmp_path / "real").mkdir(mode=0o700)
    object_dir.symlink_to(tmp_path / "real")
    assert ObjectStore.open(object_dir) is None


def test_somebody_elses_directory_is_not_used(object_dir, monkeypatch):
    object_dir.mkdir(mode=0o700)
    user = os.geteuid()
    monkeypatch.setattr(cache.os, "geteuid", lambda: user + 1)
    assert ObjectStore.open(object_dir) is None


def test_old_objects_make_room_for_new_ones(store):
    for number in range(20):
        store.save("unit", f"{number:02}" * 32, DATA)
    store.save("other", KEY, DATA)
    kept = [path.name for path in store.directory.glob("unit-*")]
    assert len(kept) == 8
    assert store.load("unit", "19" * 32) == DATA


def test_ordinary_users_have_a_place_without_a_home(monkeypatch, tmp_path):
    monkeypatch.setattr(cache.os, "geteuid", lambda: 1234)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first, second = cache.candidate_directories()
    assert first == tmp_path / "iomapd"
    assert second.name == "iomapd-1234"


def test_a_process_that_may_write_nothing_is_told_its_places_all_the_same(monkeypatch, tmp_path):
    """The child that examines programs: an ordinary user's every file was EIO."""

    def probe_fails():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    monkeypatch.setattr(tempfile, "gettempdir", probe_fails)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert cache.candidate_directories()[-1] == tmp_path / "iomapd-12345"


def test_root_keeps_objects_with_the_system(monkeypatch):
    monkeypatch.setattr(cache.os, "geteuid", lambda: 0)
    monkeypatch.setenv("XDG_CACHE_HOME", "/home/somebody/.cache")
    assert [str(path) for path in cache.candidate_directories()] == ["/var/cache/iomapd"]
