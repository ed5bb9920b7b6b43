# SPDX-License-Identifier: MIT
"""The admin socket: one JSON object per line each way, for the commands on a live mount.

    {"op": "info"}  ->  {"ok": true, "result": {...}}
                    ->  {"ok": false, "error": "one line", "errno": 2}

A request is input: whatever arrives, the answer is one of the two, and the mount
goes on.  Only the owner of the socket (mode 0600) can ask.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
from typing import TYPE_CHECKING, Any, Final

import trio

from iomapd.errors import IomapdError, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

log = logging.getLogger(__name__)

LINE_MAX: Final = 1 << 20
CLIENTS_MAX: Final = 16


class AdminServer:
    """Answers admin requests by a table of handlers.

    Args:
        path: where the socket is made; a stale one is replaced.
        handlers: by ``op``; each gets the request's other fields.
    """

    def __init__(
        self, path: Path, handlers: dict[str, Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]]
    ) -> None:
        self.path = path
        self._handlers = handlers
        self._limit = trio.CapacityLimiter(CLIENTS_MAX)

    def bind(self) -> None:
        """Make the socket, mode 0600; clients queue until `run`."""
        self.path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # The mode is there from the first moment: no window for others.
        before = os.umask(0o177)
        try:
            self._socket.bind(os.fspath(self.path))
        finally:
            os.umask(before)
        self._socket.listen(CLIENTS_MAX)
        self._socket.setblocking(False)

    async def run(self) -> None:
        """Serve until cancelled."""
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(self._socket))
        await trio.serve_listeners(self._serve_client, [listener])

    def close(self) -> None:
        """Remove the socket: from now on this mount is ending."""
        self.path.unlink(missing_ok=True)
        self._socket.close()

    async def _serve_client(self, stream: trio.SocketStream) -> None:
        async with self._limit:
            try:
                await self._talk(stream)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # the client has gone; that is its right
            finally:
                await trio.aclose_forcefully(stream)

    async def _talk(self, stream: trio.SocketStream) -> None:
        pending = b""
        while chunk := await stream.receive_some(65536):
            pending += chunk
            while b"\n" in pending:
                line, pending = pending.split(b"\n", 1)
                answer = await self._answer(line)
                await stream.send_all(json.dumps(answer).encode() + b"\n")
            if len(pending) > LINE_MAX:
                return

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            if not isinstance(request, dict) or not isinstance(request.get("op"), str):
                raise UsageError('an admin request is a JSON object with a string "op"')
            handler = self._handlers.get(request.pop("op"))
            if handler is None:
                raise UsageError(f"unknown op; known: {', '.join(sorted(self._handlers))}")
            return {"ok": True, "result": await handler(request)}
        except (IomapdError, OSError) as exc:
            text = exc.args[-1] if exc.args else str(exc)
            return {"ok": False, "error": str(text), "errno": exc.errno or errno.EIO}
        except (ValueError, TypeError, KeyError) as exc:
            return {"ok": False, "error": f"bad admin request: {exc}", "errno": errno.EINVAL}
        except Exception:
            log.exception("admin request failed")
            return {"ok": False, "error": "internal error; see the log", "errno": errno.EIO}
