# SPDX-License-Identifier: MIT
"""The driver without FUSE: pyfuse3's handlers over a real volume, in this process.

A crash is the store as a killed process leaves it, log included, the inode table in its file,
and the members as they are.  Each call runs the event loop for as long as it takes, with the
task that makes durability points beside it: so nothing happens between calls, and a run can be
repeated.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import trio

from iomapd.control.mount import ControlPlane
from iomapd.control.open import open_volume
from iomapd.fuse.caching import THROUGH, Caching
from iomapd.fuse.operations import Operations
from iomapd.tools.create import create_volume
from iomapd.tools.fsck import check_volume
from iomapd.volume.layout_file import load_layout
from iomapd.volume.superblock import DATA_OFFSET
from tests.model.kernel import Kernel
from tests.mounted import plumbing

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

    from tests.model.driver import Plan

BACKUP = 4096  # the second superblock, behind the data


class InProcess:
    """One volume, a `Driver`: what is not here is asked of `Kernel`."""

    owner = (0, 0)
    is_exact = True

    def __init__(self, directory: pathlib.Path, plan: Plan) -> None:
        self.directory, self.plan = directory, plan
        directory.mkdir()
        layout = directory / "volume.toml"
        layout.write_text(layout_text(plan))
        self.layout = load_layout(layout)
        create_volume(self.layout)
        for index, size in enumerate(plan.data):
            plumbing.spoil(directory / f"m{index}.img", DATA_OFFSET, size)
        self._begin()

    def _begin(self) -> None:
        store, members = open_volume(self.layout, read_only=False, mountpoint=None)
        self._control = ControlPlane(
            store, members, read_only=False, table=self.directory / "inodes"
        )
        self._control.begin()
        self._kernel = Kernel(Operations(self._control, Caching(THROUGH, lambda _: False)))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._kernel, name)
        return lambda *arguments, **named: trio.run(self._answer, call, arguments, named)

    async def _answer(self, call: Callable[..., Any], arguments: Any, named: Any) -> Any:
        """Let *call* answer, beside the task that makes durability points."""
        error = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._control.points.run)
            try:
                found = await call(*arguments, **named)
            except OSError as exc:  # a nursery would wrap it
                error = exc
            nursery.cancel_scope.cancel()
        if error is not None:
            raise error
        return found

    def crash(self) -> None:
        self._abandon()
        self._begin()

    def _abandon(self) -> None:
        """Let go of everything, and leave the store's files as a killed process would."""
        core = self._control.core
        files = [self.layout.metadata, self.layout.metadata.with_name("volume.db-wal")]
        left = {path: path.read_bytes() for path in files if path.exists()}
        core.store.close()  # moves the log into the database, which a killed process does not
        for path, data in left.items():
            path.write_bytes(data)
        for member in core.members:
            member.close()

    def remount(self) -> None:
        trio.run(self._control.end)
        self._begin()

    def findings(self) -> list[str]:
        """Unmounts for it; the volume is mounted again afterwards."""
        trio.run(self._control.end)
        found = [finding.message for finding in check_volume(self.layout).errors]
        self._begin()
        return found

    def end(self) -> None:
        self._abandon()
        shutil.rmtree(self.directory)


def layout_text(plan: Plan) -> str:
    """The layout file of *plan*."""
    lines = ["[volume]", 'name = "model"', f'unit = "{plan.unit}B"', 'program = "raid0"',
             'metadata = "volume.db"']  # fmt: skip
    for index, size in enumerate(plan.data):
        size += DATA_OFFSET + BACKUP
        lines += ["[[member]]", f'path = "m{index}.img"', f'size = "{size}B"', "sparse = true"]
    return "\n".join(lines)
