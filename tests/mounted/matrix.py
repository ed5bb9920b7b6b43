# SPDX-License-Identifier: MIT
"""The cells of the matrix, and all mounted tests in each: ``python -m tests.mounted.matrix -n 4``.

    lanes       0: Python serves; 1: no request beside another; 8: more than there are CPUs
    members     buffered, direct, mapped
    strategy    program, record, cache, upcall

Twelve cells hold every pair of two values.
"""

from __future__ import annotations

import os
import subprocess
import sys

LANES = ("0", "1", "8")
MODES = ("buffered", "direct", "mapped")
MAPPERS = ("program", "record", "cache", "upcall")

CELLS = [
    (LANES[(column + row) % len(LANES)], mode, mapper)
    for row, mapper in enumerate(MAPPERS)
    for column, mode in enumerate(MODES)
]


def main() -> int:
    """Run the mounted tests in every cell, with pytest's arguments; 1 when some fail."""
    failed = []
    given = sys.argv[1:]
    if not any(argument.startswith("tests") for argument in given):
        given = ["tests/mounted", *given]
    for lanes, mode, mapper in CELLS:
        variables = {
            "IOMAPD_TEST_LANES": lanes, "IOMAPD_TEST_IO": mode, "IOMAPD_TEST_MAPPER": mapper,
        }  # fmt: skip
        told = " ".join(f"{name}={value}" for name, value in variables.items())
        sys.stdout.write(f"--- {told}\n")
        sys.stdout.flush()
        command = [sys.executable, "-m", "pytest", "-q", "--dist", "loadfile", *given]
        if subprocess.run(command, env={**os.environ, **variables}, check=False).returncode:
            failed.append(told)
    sys.stdout.write("".join(f"failed: {told}\n" for told in failed) or "every cell passed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
