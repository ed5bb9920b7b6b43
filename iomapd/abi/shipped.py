# SPDX-License-Identifier: MIT
"""Where the files that ship with iomapd lie: mapping programs and ready-made devices.

    installed wheel     iomapd/shipped/programs, iomapd/shipped/devices
    checkout            programs, devices        beside the package

The wheel carries them inside the package because nothing beside a package
survives an installation; a checkout keeps them on top because that is where
people look.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

PACKAGE: Final = Path(__file__).resolve().parent.parent

Kind = Literal["programs", "devices"]


def shipped_dir(kind: Kind) -> Path:
    """Return the directory of the shipped *kind*, "programs" or "devices".

    The wheel's copy is preferred: a directory that merely happens to be called
    "programs" may lie beside an installed package.

    Raises:
        FileNotFoundError: neither place exists, so the installation is broken.
    """
    for place in (PACKAGE / "shipped" / kind, PACKAGE.parent / kind):
        if place.is_dir():
            return place
    raise FileNotFoundError(f"{kind}/ is neither inside {PACKAGE} nor beside it: reinstall iomapd")
