# SPDX-License-Identifier: MIT
"""The machine: all rules, and the ends that a mount may come to.

After a crash each file is held against `Bytes.adopt`, everything else must be there
exactly.  At the end fsck must be silent, and all space must come back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from tests.model.rules import DataRules, NameRules, lengths
from tests.model.side_by_side import names, numbers
from tests.mounted.harness import SOAK

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.model.driver import Driver, Plan

# Shortening what failed takes minutes: for a soak, and for whoever looks for the cause.
PHASES = (Phase.generate, Phase.shrink) if SOAK else (Phase.generate,)


class Machine(NameRules, DataRules):
    """Random operations on a file system and on its model; hypothesis shortens what fails."""

    @rule(which=numbers, data_only=st.booleans(), then_crash=st.booleans())
    def sync(self, which: int, data_only: bool, then_crash: bool) -> None:
        """fsync(2) makes a durability point; fdatasync(2) may do with less."""
        with self.some_file(which) as (handle, node):
            self.driver.sync(handle, data_only=data_only)
            if data_only:
                node.data.settle()
            else:
                self._point()
        if then_crash:
            self.crash()

    @rule(where=numbers)
    def sync_directory(self, where: int) -> None:
        """fsync(2) of a directory."""
        self.driver.sync_directory(self.directory(where))
        self._point()

    def _point(self) -> None:
        self.model.point(tuple(node for _, node in self.handles))

    @rule(where=numbers, name=names, onto=numbers, length=lengths, then_crash=st.booleans())
    def save(self, where: int, name: bytes, onto: int, length: int, then_crash: bool) -> None:
        """What editors do: write a new file, rename it over the old one, sync nothing."""
        path = (*self.directory(where), name)
        if self.node(path) is None:
            self.create(where, name, 0o600, True)
            handle, node = self.handles.pop()
            self.write_both(handle, node, 0, self.bytes(length))
            self.driver.close(handle)
        self._rename(path, self.some(onto), 0)
        if then_crash:
            self.crash()

    @rule()
    def forget(self) -> None:
        """Memory is short: the kernel drops what it knows."""
        self.driver.forget()

    @precondition(lambda self: self.model.root.entries)
    @rule()
    def crash(self) -> None:
        """kill -9, mount."""
        self.handles.clear()
        self.driver.crash()
        self.compare()

    @precondition(lambda self: self.model.root.entries)
    @rule()
    def remount(self) -> None:
        """An orderly end makes everything durable."""
        self.handles.clear()
        self.driver.remount()
        self.model.point()
        self.compare()

    def teardown(self) -> None:
        """Close, remount, compare, fsck; then remove everything: all space is free."""
        if self.driver is None:
            return
        try:
            for handle, _ in self.handles:
                self.driver.close(handle)
            self.remount()
            findings = self.driver.findings()
            assert not findings, findings
            for path in reversed(self.model.paths()):
                (self.driver.rmdir if self.model.find(path).is_dir else self.driver.unlink)(path)
            self.driver.sync_directory(())
            if self.driver.is_exact:
                assert self.driver.space()[0] == 0, "space is lost"
        finally:
            self.driver.end()


def play(make: Callable[[Plan], Driver], examples: int, steps: int) -> None:
    """Run the machine on drivers of *make*; the same every time, but for a soak.

    Raises:
        AssertionError: something differed; hypothesis prints the steps that led there.
    """
    machine = type("Machine", (Machine,), {"make": staticmethod(make)})
    plan = settings(
        max_examples=examples,
        stateful_step_count=steps,
        derandomize=not SOAK,
        database=None,
        phases=PHASES,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=plan)
