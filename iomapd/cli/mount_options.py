# SPDX-License-Identifier: MIT
"""The ``-o`` options of a mount: which are ours, which are the kernel's, which are for others.

    own         handed to the server             mapper=, io=, cache=, fsname=, subtype=
    kernel      handed to mount(2)               ro, nosuid, nodev, noexec, noatime, ...
    undo        the opposite of one of those     rw, suid, dev, exec, atime, ...
    swallowed   for mount(8), systemd, fstab     defaults, auto, nofail, _netdev, x-*, ...

Everything else is refused by name: a misspelt option that is silently dropped
is a volume mounted in another way than its owner believes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from iomapd.errors import UsageError

WITH_VALUE: Final = {
    "fsname": "what df shows as the source; the volume's name by default",
    "subtype": "file-system type fuse.SUBTYPE; iomapd by default, empty for plain fuse",
    "mapper": "who answers where bytes are: program (default), record, cache or upcall",
    "io": "how members are accessed: auto (default), mapped, buffered or direct",
    "cache": "who caches what files hold: through (default), kernel (writes come later) or none",
}
"""Options of our own that take a value, and what they mean."""

FLAGS: Final = {
    "ro": "read-only; writes nothing to the members or the store",
    "allow_other": "let other users in; ordinary users need user_allow_other in /etc/fuse.conf",
    "default_permissions": "the kernel checks modes; always on",
    "noatime": "do not record when files are read",
    "nosuid": "ignore set-user-id bits; always on for ordinary users",
    "nodev": "ignore device nodes; always on for ordinary users",
    "noexec": "refuse to run programs",
    "nodiratime": "do not record when directories are read",
    "sync": "write through: every write is durable before it returns",
    "dirsync": "directory changes are durable before they return",
}
"""Options without a value that the server or mount(2) acts upon, and what they mean."""

_UNDONE_BY: Final = {
    "rw": "ro", "suid": "nosuid", "dev": "nodev", "exec": "noexec", "atime": "noatime",
    "diratime": "nodiratime", "async": "sync",
}  # fmt: skip

# What mount(8), systemd.mount(5) and fstab(5) put there for themselves.
_SWALLOWED: Final = frozenset(
    {
        *("defaults", "auto", "noauto", "user", "nouser", "users", "nousers", "owner", "noowner"),
        *("group", "nogroup", "fail", "nofail", "_netdev", "relatime", "norelatime"),
        *("strictatime", "nostrictatime", "lazytime", "nolazytime", "silent", "loud"),
        *("iversion", "noiversion", "mand", "nomand", "symfollow", "comment", "context"),
        *("fscontext", "defcontext", "rootcontext", "uhelper", "helper", "nonempty"),
        "auto_unmount",
    }
)
_SWALLOWED_PREFIXES: Final = ("x-", "X-", "comment=")


def parse_options(texts: Iterable[str], *, sloppy: bool = False) -> dict[str, str | None]:
    """Return the options of any number of ``-o`` arguments; later ones win.

    Args:
        texts: each ``key`` or ``key=value``, separated by commas.
        sloppy: drop unknown options instead of refusing them (mount(8) ``-s``).

    Returns:
        Options of our own and the kernel's; flags have the value None.

    Raises:
        UsageError: an unknown option, a value where none belongs, or none where one does.
    """
    options: dict[str, str | None] = {}
    for item in (item for text in texts for item in text.split(",") if item):
        key, equals, value = item.partition("=")
        if key in WITH_VALUE and equals:
            options[key] = value
        elif item in FLAGS:
            options[item] = None
        elif item in _UNDONE_BY:
            options.pop(_UNDONE_BY[item], None)
        elif not (key in _SWALLOWED or item.startswith(_SWALLOWED_PREFIXES) or sloppy):
            raise UsageError(_refusal(item, key, bool(equals)))
    return options


def _refusal(item: str, key: str, has_value: bool) -> str:
    if key in WITH_VALUE:
        return f"-o {key}: needs a value: -o {key}=..."
    if has_value and (key in FLAGS or key in _UNDONE_BY):
        return f"-o {item}: {key} takes no value"
    known = ", ".join([*(f"{name}=" for name in WITH_VALUE), *FLAGS])
    return f"-o {item}: unknown mount option; known are {known} and the generic ones of mount(8)"
