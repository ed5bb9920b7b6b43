# SPDX-License-Identifier: MIT
"""Names and attributes follow the model through any storm, over a remount and over a crash."""

import pytest

from tests.mounted.harness import is_root, soak
from tests.mounted.tree import TreeMachine

pytestmark = pytest.mark.usefixtures("shared_volume")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_storm_of_names_follows_the_model(seed, workdir, shared_volume):
    print("seed", seed, "root", is_root())
    machine = TreeMachine(workdir, seed)
    for _ in range(3):
        machine.run(soak(400))
        machine.compare()
    shared_volume.remount()
    machine.compare()
    machine.run(100)
    machine.compare()


def test_a_storm_follows_the_model_where_the_kernel_keeps_sizes_and_times(make_volume):
    volume = make_volume(options=("cache=kernel",))
    machine = TreeMachine(volume.mnt, 4)
    machine.run(soak(800))
    machine.compare()
    volume.remount()
    machine.compare()


def test_the_storm_reaches_every_answer(workdir):
    """A storm that never meets an error proves little: most operations fail and succeed here."""
    machine = TreeMachine(workdir, 7)
    machine.run(2500)
    machine.compare()
    seen = set(machine.done)
    for answer in (
        "rename ok",
        "rename EINVAL",
        "rename ENOTEMPTY",
        "rename EISDIR",
        "rename ENOTDIR",
        "rename ENOENT",
        "rename_noreplace EEXIST",
        "exchange ok",
        "exchange EINVAL",
        "link EPERM",
        "link EEXIST",
        "rmdir ENOTEMPTY",
        "rmdir ok",
        "unlink EISDIR",
        "unlink ok",
        "setxattr EEXIST",
        "setxattr ENODATA",
        "setxattr EPERM",
        "removexattr ENODATA",
    ):
        assert answer in seen, f"{answer} never happened: {sorted(seen)}"


def test_acknowledged_operations_survive_a_killed_server(workdir, shared_volume):
    """Every operation is a transaction of its own: a dead server loses none."""
    machine = TreeMachine(workdir, 11)
    # Data may be lost without fsync, names and attributes may not.
    machine.OPERATIONS = tuple(o for o in machine.OPERATIONS if o not in ("create", "write"))
    machine.run(600)
    shared_volume.crash_and_mount()
    machine.compare()
