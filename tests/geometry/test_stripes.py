# SPDX-License-Identifier: MIT
from hypothesis import given
from hypothesis import strategies as st

from iomapd.geometry.stripes import join, locate

ADDR, UNIT, NR = st.integers(0, 2**62), st.integers(1, 2**24), st.integers(1, 64)


@given(ADDR, UNIT, NR)
def test_locate_inverts(addr, unit, nr_strips):
    strip, strip_addr, run = locate(addr, unit, nr_strips)
    assert 0 <= strip < nr_strips
    assert 1 <= run <= unit
    assert join(strip, strip_addr, unit, nr_strips) == addr


@given(ADDR, UNIT, NR)
def test_the_next_run_starts_on_the_next_strip(addr, unit, nr_strips):
    strip, _, run = locate(addr, unit, nr_strips)
    following, strip_addr, _ = locate(addr + run, unit, nr_strips)
    assert following == (strip + 1) % nr_strips
    assert strip_addr % unit == 0
