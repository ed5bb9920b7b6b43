# SPDX-License-Identifier: MIT
"""Which handles skip the page cache, and whose business times are."""

import os
import stat

import pytest

from iomapd.abi.fuse import FH_WRITE_CACHE, INIT_WRITEBACK_CACHE
from iomapd.fuse.caching import ATTR_TIMEOUT_S, MODES, Caching


def caching(mode):
    """A mount whose kernel agrees to what the mode wishes for."""
    agreed = INIT_WRITEBACK_CACHE if mode == "kernel" else 0
    return Caching(mode, lambda capability: bool(agreed & capability))


@pytest.mark.parametrize(("mode", "plain", "direct"), [
    ("through", False, True),
    ("kernel", False, False),
    ("none", True, True),
])  # fmt: skip
def test_who_skips_the_page_cache(mode, plain, direct):
    assert caching(mode).opens_direct(os.O_RDWR) is plain
    assert caching(mode).opens_direct(os.O_RDONLY | os.O_DIRECT) is direct


@pytest.mark.parametrize("mode", MODES)
def test_the_kernel_keeps_the_times_of_what_it_writes_back_only(mode):
    assert caching(mode).keeps_times(7 | FH_WRITE_CACHE) is (mode == "kernel")
    assert not caching(mode).keeps_times(7)


def test_a_kernel_that_refuses_writeback_keeps_no_times():
    refused = Caching("kernel", lambda _: False)
    assert not refused.keeps_times(7 | FH_WRITE_CACHE)
    assert refused.opens_direct(os.O_DIRECT)


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_says_what_it_means(mode):
    described = caching(mode).describe()
    assert described["mode"] == mode
    assert described["means"]


@pytest.mark.parametrize("mode", MODES)
def test_the_kernel_asks_soon_for_what_it_cannot_know(mode):
    """How much space writing back took; all else it sees happen."""
    keeps = caching(mode).attr_timeout
    assert keeps(stat.S_IFDIR | 0o755) == ATTR_TIMEOUT_S
    assert (keeps(stat.S_IFREG | 0o644) < ATTR_TIMEOUT_S) is (mode == "kernel")
