# SPDX-License-Identifier: MIT
"""The raid0 formula: consecutive units go to consecutive strips.

    unit_index   0    1    2    3    4    5    6    7
    strip        0    1    2    3    0    1    2    3      (4 strips)
    row          0    0    0    0    1    1    1    1

A *row* is one unit on every strip.  `locate` goes from an address in the
striped range to a strip, `join` is its inverse.  Sources: md(4), "RAID0";
drivers/md/dm-stripe.c, stripe_map_sector(); famfs's interleaved extents.
"""

from __future__ import annotations

from iomapd.native.integers import divide


def locate(addr: int, unit: int, nr_strips: int) -> tuple[int, int, int]:
    """Find the strip that holds the striped address *addr*.

    Args:
        addr: striped address, bytes from the start of the extent; >= 0.
        unit: stripe unit, bytes; > 0.
        nr_strips: number of strips; > 0.

    Returns:
        ``(strip, strip_addr, run)``: index of the strip, byte address in it,
        and bytes left before the next strip takes over (``1 <= run <= unit``).
    """
    # Powers of two nearly always; compiled, `divide` shifts then.
    unit_index = divide(addr, unit)
    within = addr - unit_index * unit
    row = divide(unit_index, nr_strips)
    strip = unit_index - row * nr_strips
    return strip, row * unit + within, unit - within


def join(strip: int, strip_addr: int, unit: int, nr_strips: int) -> int:
    """Return the striped address whose `locate` is ``(strip, strip_addr, ...)``."""
    row = strip_addr // unit
    within = strip_addr - row * unit
    return (row * nr_strips + strip) * unit + within
