# SPDX-License-Identifier: MIT
"""What a server process is told: one JSON object, from the launcher's pipe."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from iomapd.control.mappers import STRATEGIES
from iomapd.errors import UsageError
from iomapd.fuse import caching
from iomapd.transport.mount import MountOptions

MAPPERS: Final = STRATEGIES
LANES_MAX: Final = 64
IO_MODES: Final = ("auto", "mapped", "buffered", "direct")
# Flags that mount(2) takes; the rest is ours.
_KERNEL_FLAGS: Final = frozenset(
    {"ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "sync", "dirsync"}
)


@dataclass(frozen=True, slots=True)
class MountRequest:
    """One mount.

    Attributes:
        source: layout file or member, absolute.
        mountpoint: absolute.
        options: as ``-o`` gives them; flags have the value None.
        lanes: compiled lanes that serve; 0 turns the data plane off, None takes what pays here.
        log: file the server logs to; None: the runtime directory.
        foreground: log to stderr, stay in the terminal's session.
    """

    source: Path
    mountpoint: Path
    options: dict[str, str | None] = field(default_factory=dict)
    lanes: int | None = None
    log: Path | None = None
    foreground: bool = False

    def to_json(self) -> str:
        """Return the request as one line."""
        plain = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}
        return json.dumps(plain)

    @classmethod
    def from_json(cls, text: str) -> MountRequest:
        """Parse what `to_json` wrote."""
        plain = json.loads(text)
        for key in ("source", "mountpoint", "log"):
            plain[key] = Path(plain[key]) if plain[key] is not None else None
        return cls(**plain)

    @property
    def read_only(self) -> bool:
        """Whether nothing may be written."""
        return "ro" in self.options

    @property
    def mapper(self) -> str:
        """The mapping strategy."""
        return self.options.get("mapper") or MAPPERS[0]

    @property
    def cache(self) -> str:
        """Who caches what files hold."""
        return self.options.get("cache") or caching.MODES[0]

    @property
    def writes_back(self) -> bool:
        """Whether the kernel may keep what is written, and send it later."""
        return self.cache == caching.KERNEL and not self.read_only

    @property
    def dirsync(self) -> bool:
        """Whether changes of names are durable before their reply."""
        return "dirsync" in self.options or "sync" in self.options

    def check(self) -> None:
        """Refuse options whose value means nothing here.

        Raises:
            UsageError: naming option, value and what is known.
        """
        for key, known in (("mapper", MAPPERS), ("cache", caching.MODES), ("io", IO_MODES)):
            value = self.options.get(key, known[0])
            if value not in known:
                raise UsageError(f"-o {key}={value}: unknown; known: {', '.join(known)}")
        if self.lanes is not None and not 0 <= self.lanes <= LANES_MAX:
            raise UsageError(f"--lanes {self.lanes}: must be 0 to {LANES_MAX}")

    def io_mode(self, listed: str) -> str:
        """Return how members are to be accessed: ``-o io=``, else what the layout file lists."""
        return self.options.get("io") or listed

    def mount_options(self, volume_name: str) -> MountOptions:
        """Return what the transport mounts with."""
        return MountOptions(
            fsname=self.options.get("fsname") or volume_name,
            subtype=str(self.options.get("subtype", "iomapd") or ""),
            flags=frozenset(self.options) & _KERNEL_FLAGS,
            allow_other="allow_other" in self.options,
        )
