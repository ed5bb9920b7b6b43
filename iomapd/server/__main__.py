# SPDX-License-Identifier: MIT
"""The server process: a request on stdin, ``ready`` or one error line on a pipe.

    python -m iomapd.server REPORT_FD  < request.json

A fresh process: nothing that has imported numpy or started threads is ever
forked.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from iomapd.errors import IomapdError

if TYPE_CHECKING:
    from pathlib import Path

    from iomapd.server.config import MountRequest

LOG_MAX: Final = 4 << 20
"""Bytes of a log that the next mount goes on with; a longer one is set aside."""


def main() -> int:
    """Serve one mount; return the exit status."""
    report_fd = int(sys.argv[1])
    _import_all()
    text = sys.stdin.read()
    if not text:
        return 1  # whoever started us has refused the request, or is gone
    from iomapd.server.config import MountRequest

    request = MountRequest.from_json(text)
    told = False

    def tell(answer: dict[str, Any]) -> None:
        nonlocal told
        if told:
            return
        try:
            os.write(report_fd, json.dumps(answer).encode() + b"\n")
        except BrokenPipeError:
            logging.getLogger("iomapd").info("who mounted has gone: %s", answer)
        told = "progress" not in answer
        if told:
            os.close(report_fd)

    try:
        _detach(request)
    except OSError as exc:
        tell({"error": f"{request.log}: log file: {exc.strerror}", "kind": "MountError"})
        return 1
    try:
        from iomapd.server.serve import serve

        serve(request, tell)
    except IomapdError as exc:
        logging.getLogger("iomapd").error("%s", exc)
        tell({"error": str(exc), "kind": type(exc).__name__})
        return 1
    except Exception as exc:
        logging.getLogger("iomapd").exception("the server failed")
        tell({"error": f"internal error: {exc}; the log has the traceback", "kind": ""})
        return 1
    return 0


def _import_all() -> None:
    """Import what a mount needs, while the request is still being written."""
    # Nothing of what modules are made of is garbage: looking for some now or later is in vain.
    gc.disable()
    # What fails here fails again in `main`, where it can be told.
    with contextlib.suppress(Exception):
        import iomapd.server.serve  # noqa: F401
    gc.freeze()
    gc.enable()


def _set_aside(log: Path) -> None:
    """Begin *log* anew when it has become long; what was in it is kept once, as ``.1``."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > LOG_MAX:
            log.replace(f"{log}.1")


def _detach(request: MountRequest) -> None:
    if request.log is not None:
        _set_aside(request.log)
    logging.basicConfig(
        filename=request.log,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        force=True,
    )
    if request.foreground:
        return
    # The mount must not keep a directory busy, nor a terminal open.
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
    if request.log is not None:
        # What libraries print still lands somewhere.
        log_fd = os.open(request.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.dup2(log_fd, 2)
        os.close(log_fd)


if __name__ == "__main__":
    sys.exit(main())
