# SPDX-License-Identifier: MIT
"""A file on the volume behaves, byte for byte, like a file of the host."""

import os

import pytest

from tests.mounted.fsx import FileMachine
from tests.mounted.harness import soak

KIB, MIB = 1 << 10, 1 << 20
GEOMETRIES = {
    "one-member": {"members": 1},
    "three-of-4KiB": {"members": 3, "unit": "4KiB", "sizes": ("16MiB",)},
    "four-of-64KiB": {"members": 4},
    "five-unequal": {"members": 5, "sizes": ("9MiB", "40MiB", "16MiB", "33MiB", "12MiB")},
    "four-of-1MiB": {"members": 4, "unit": "1MiB"},
    "eight-of-64KiB": {"members": 8, "sizes": ("16MiB",)},
    "four-loop-devices": {"members": 4, "loop": True},
    "four-in-memory": {"members": 4, "unit": "4KiB", "memory": True},
}


def seed_of(name):
    """Fixed in a quick run, new in each soak run."""
    return int.from_bytes(os.urandom(4)) if soak(1) > 1 else sum(name.encode())


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_random_operations_equal_those_on_the_host(geometry, make_volume, tmp_path):
    volume = make_volume(**GEOMETRIES[geometry])
    unit = MIB if "1MiB" in geometry else 64 * KIB
    seed = seed_of(geometry)
    print("seed", seed)
    machine = FileMachine(
        volume.mnt / "file", tmp_path / "reference", seed, max_size=10 * unit, max_io=3 * unit
    )
    machine.run(soak(220))
    machine.around(volume.remount, "remount")
    machine.run(soak(220))
    machine.close()


def test_several_files_at_once_do_not_mix(shared_volume, workdir, tmp_path):
    """Machines take turns, so that their extents interleave on the members."""
    machines = [
        FileMachine(
            workdir / f"file{i}",
            tmp_path / f"ref{i}",
            1000 + i,
            max_size=600 * KIB,
            max_io=100 * KIB,
        )
        for i in range(4)
    ]
    for _ in range(soak(12)):
        for machine in machines:
            machine.run(12, compare_every=12)
    for machine in machines:
        machine.compare()
        machine.close()
