# SPDX-License-Identifier: MIT
"""Cleans up after a test run that was killed: ``python -m tests.mounted.reaper TOKEN BASE...``.

Waits for the end of its standard input, the write end of which only the test run
holds.  A run that ended in order says "clean" first.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests.mounted import plumbing


def main() -> int:
    """Wait, sweep if need be, and say on stderr what there was."""
    token, *bases = sys.argv[1:]
    if sys.stdin.read().strip() == "clean":
        return 0
    for line in plumbing.sweep([Path(base) for base in bases], token):
        sys.stderr.write(f"reaper: removed {line}\n")
    # Members in memory are no use to an autopsy, and cost memory until the next boot.
    for base in bases:
        if base.startswith("/dev/shm/"):
            shutil.rmtree(base, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
