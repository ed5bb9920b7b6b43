# SPDX-License-Identifier: MIT
from iomapd.cache.extents import ExtentCache, Known
from iomapd.mapping.extent import Extent, Strip


def extent(ino, offset, length=8192):
    return Extent(ino, offset, length, 1, 65536, ino, length, length, (Strip(1, offset),))


def known(ino, offset, length=8192):
    return Known(offset, offset + length, extent(ino, offset, length))


def test_a_gap_is_a_miss_and_a_hole_is_a_hit():
    cache = ExtentCache()
    cache.upsert(5, Known(0, 8192, None))
    assert cache.find(5, 4096).extent is None
    assert cache.find(5, 8192) is None
    assert (cache.statistics().hits, cache.statistics().misses) == (1, 1)


def test_the_cookie_moves_with_every_change():
    cache = ExtentCache()
    seen = [cache.cookie(5)]
    cache.upsert(5, known(5, 0))
    seen.append(cache.cookie(5))
    cache.invalidate(5, 0, 4096)
    seen.append(cache.cookie(5))
    assert len(set(seen)) == 3
    assert 0 not in seen, "0 means always valid"


def test_a_cut_window_still_names_the_whole_extent():
    cache = ExtentCache()
    cache.upsert(5, known(5, 0))
    cache.invalidate(5, 0, 4096)
    found = cache.find(5, 4096)
    assert (found.offset, found.end, found.extent.offset) == (4096, 8192, 0)


def test_windows_of_one_extent_join_again():
    cache, whole = ExtentCache(), extent(5, 0)
    cache.upsert(5, Known(0, 4096, whole))
    cache.upsert(5, Known(4096, 8192, whole))
    assert cache.statistics().records == 1


def test_the_least_recently_used_inode_goes_first():
    cache = ExtentCache(max_records=4)
    for ino in (1, 2):
        for i in range(2):
            cache.upsert(ino, known(ino, i * 16384))
    cache.find(1, 0)
    cache.upsert(3, known(3, 0))
    assert cache.find(2, 0) is None
    assert cache.find(1, 0) is not None
    assert cache.statistics().evictions == 1
    assert cache.statistics().records == 3


def test_one_inode_may_exceed_the_bound_rather_than_thrash():
    cache = ExtentCache(max_records=2)
    for i in range(5):
        cache.upsert(1, known(1, i * 16384))
    assert all(cache.find(1, i * 16384) for i in range(5))
