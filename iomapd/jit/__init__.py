# SPDX-License-Identifier: MIT
"""Floor 4: compiles plain functions; keeps the object files.

    load_unit("relays", [relay_in, relay_out])

    reachable functions --> key --> object file on disk? --yes--> loaded by MCJIT
      (sources.py)                  (cache.py)    |                (machine.py)
                                                  no --> compiled by numba (build.py, natives.py)

A unit is one object file.  On the warm path numba is never imported: it would cost half a
second, while finding and loading the file takes a few hundredths.
"""

from iomapd.jit.unit import Unit, load_unit

__all__ = ["Unit", "load_unit"]
