# SPDX-License-Identifier: MIT
"""The client of the admin socket: ask the server of a mount, from a tool that waits.

One JSON object per line each way::

    -> {"op": "info"}
    <- {"ok": true, "result": {...}}
    <- {"ok": false, "error": "one line", "errno": 5}

The socket is found through ``/proc/self/mountinfo`` and the mount is never
touched, so a tool gets an answer, or a sentence, when the file system hangs.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from iomapd.abi.mountinfo import MountEntry, find_mount, read_mounts
from iomapd.errors import IomapdError, MountError
from iomapd.server.runtime import owner_of, socket_of_mount

ANSWER_WITHIN_SECONDS: Final = 60.0
"""An operation that flushes every member of a busy volume may take this long."""

_LONGEST_ANSWER: Final = (
    1 << 30
)  # the map of a file with ten million pieces; beyond it something is wrong
_UCRED: Final = struct.Struct("3i")  # struct ucred: pid, uid, gid (unix(7), SO_PEERCRED)


class ServerError(IomapdError):
    """The server refused an operation; the message is the server's own line."""

    def __init__(self, message: str, errno: int) -> None:
        super().__init__(message)
        self.errno = errno


@dataclass(frozen=True, slots=True)
class Peer:
    """Who listens behind an admin socket, as the kernel knows it."""

    pid: int
    uid: int


def request(
    mountpoint: Path, op: str, *, timeout: float = ANSWER_WITHIN_SECONDS, **args: Any
) -> dict[str, Any]:
    """Ask the server of *mountpoint* to do *op* and return its result.

    Args:
        mountpoint: where the volume is mounted.
        op: name of the operation, "info" for one.
        timeout: how long to wait for each step, seconds.
        args: what the operation takes; must go into JSON.

    Raises:
        MountError: nothing is mounted there, or no server answers.
        ServerError: the server says no; its line, its errno.
    """
    return request_mount(require_mount(mountpoint), op, timeout=timeout, **args)


def request_mount(
    entry: MountEntry, op: str, *, timeout: float = ANSWER_WITHIN_SECONDS, **args: Any
) -> dict[str, Any]:
    """Ask the server of a mount already looked up; see `request`."""
    with connect(entry, timeout) as channel:
        try:
            channel.sendall(json.dumps({"op": op, **args}).encode() + b"\n")
            line = _read_line(channel)
        except TimeoutError as error:
            raise MountError(
                f"{entry.mountpoint}: the server (pid {peer_of(channel).pid}) did not answer "
                f"{op!r} within {timeout:g} s"
            ) from error
        except OSError as error:
            raise MountError(
                f"{entry.mountpoint}: the server went away: {error.strerror}"
            ) from error
    return _result(entry, op, line)


def require_mount(mountpoint: Path) -> MountEntry:
    """Return the mountinfo entry of *mountpoint*.

    Raises:
        MountError: nothing is mounted there.
    """
    entry = find_mount(mountpoint)
    if entry is None:
        raise MountError(f"{mountpoint}: nothing is mounted there")
    return entry


def is_ours(entry: MountEntry) -> bool:
    """Tell whether a mount is an iomapd volume: by its type, or by its socket if that is hidden.

    A volume may be mounted with another subtype; and another user's socket may
    be out of sight.
    """
    kind, _, subtype = entry.fstype.partition(".")
    # os.path.exists() is False for what we may not look at; Path.exists() would raise.
    return kind == "fuse" and (
        subtype == "iomapd" or os.path.exists(socket_of_mount(entry))  # noqa: PTH110
    )


def mount_of_device(device: int, name: Path) -> MountEntry:
    """Return the mountinfo entry of a served mount whose files have ``st_dev`` *device*.

    Raises:
        MountError: there is none; *name* is the file the message speaks of.
    """
    wanted = (os.major(device), os.minor(device))
    entry = next((entry for entry in read_mounts() if entry.device == wanted), None)
    if entry is None or not is_ours(entry):
        raise MountError(f"{name}: is not on a mounted iomapd volume")
    return entry


def served_mounts() -> list[MountEntry]:
    """Return every mount of an iomapd volume in this mount namespace."""
    return [entry for entry in read_mounts() if is_ours(entry)]


def connect(entry: MountEntry, timeout: float) -> socket.socket:
    """Return a connection to the server of *entry*; the caller closes it.

    Raises:
        MountError: no server listens, or somebody else's process does.
    """
    path = socket_of_mount(entry)
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    channel.settimeout(timeout)
    try:
        channel.connect(str(path))
        peer = peer_of(channel)
    except OSError as error:
        channel.close()
        raise MountError(_unreachable(entry, path, error)) from error
    # /tmp is everybody's: the kernel's word on who listens is the one that counts.
    if peer.uid not in (0, owner_of(entry)):
        channel.close()
        raise MountError(f"{path}: served by user {peer.uid}, who does not own {entry.mountpoint}")
    return channel


def peer_of(channel: socket.socket) -> Peer:
    """Return the process that opened the other end's listening socket."""
    raw = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, _gid = _UCRED.unpack(raw)
    return Peer(pid=pid, uid=uid)


def _unreachable(entry: MountEntry, path: Path, error: OSError) -> str:
    where = f"{entry.mountpoint}"
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        if not entry.fstype.startswith("fuse"):
            return f"{where}: is {entry.fstype}, not an iomapd volume"
        return (
            f"{where}: no iomapd server listens at {path}; "
            f"if it died: iomapd umount --force {where}"
        )
    if isinstance(error, PermissionError):
        return f"{where}: is served by user {owner_of(entry)}, who alone may ask"
    return f"{path}: {error.strerror or error}"


def _read_line(channel: socket.socket) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n"):
        if len(line) > _LONGEST_ANSWER:
            raise OSError(0, f"its answer is longer than {_LONGEST_ANSWER} bytes")
        chunk = channel.recv(1 << 16)
        if not chunk:
            raise OSError(0, "it closed the connection in the middle of an answer")
        line += chunk
    return bytes(line)


def _result(entry: MountEntry, op: str, line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except ValueError as error:
        raise MountError(
            f"{entry.mountpoint}: the server's answer to {op!r} is not JSON"
        ) from error
    if not isinstance(answer, dict) or not isinstance(answer.get("result", {}), dict):
        raise MountError(f"{entry.mountpoint}: the server's answer to {op!r} has the wrong shape")
    if not answer.get("ok"):
        raise ServerError(
            str(answer.get("error", "refused")), int(answer.get("errno", 0)) or IomapdError.errno
        )
    result: dict[str, Any] = answer.get("result", {})
    return result
