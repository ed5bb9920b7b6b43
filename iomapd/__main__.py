# SPDX-License-Identifier: MIT
"""``python -m iomapd``: the same as the ``iomapd`` command."""

from iomapd.cli.main import run

if __name__ == "__main__":
    run()
